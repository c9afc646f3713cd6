"""canary.py PORT [KEY]: an ordinary client beside the hostile ones. Asks small questions on one connection until its input ends, looks at each answer,
and then prints what it saw as JSON: {"samples": [[when, seconds] …], "wrong": [sentence …]}. `when` is the monotonic clock, which processes share.

The backend writes the request's id into every word, so an answer that is another request's, or a part of one, shows.
"""
import http.client
import json
import select
import sys
import time

PACE_S = 0.001          # between two questions: the canary must not be the load itself
WRONG_MAX = 20
ALONE = 500             # questions after which it says "alone": enough to know what is usual


def one(connection, headers):
    """What is wrong with the answer to one question; None if nothing is."""
    connection.request('POST', '/v1/chat/completions', '{"model":"canary","messages":[{"role":"user","content":"Hi"}]}', headers)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        return f'{answer.status}: {body[:200]!r}'
    words = json.loads(body)['choices'][0]['message']['content'].split(' ')
    id = answer.getheader('x-request-id')
    if len(words) != 3 or not all(word.startswith(id + ':') for word in words):
        return f'the answer to {id} is {words}'
    return None


def main():
    port, key = int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None
    headers = {'content-type': 'application/json', **({'authorization': f'Bearer {key}'} if key else {})}
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=20)
    samples, wrong = [], []
    while not select.select([sys.stdin], [], [], PACE_S)[0] and len(wrong) < WRONG_MAX:
        began = time.monotonic()
        try:
            what = one(connection, headers)
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            what = repr(error)
            connection.close()
        samples.append([began, time.monotonic() - began])
        if len(samples) == ALONE:
            print('alone', flush=True)
        if what:
            wrong.append(what)
    json.dump({'samples': samples, 'wrong': wrong}, sys.stdout)


main()
