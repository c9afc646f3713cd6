#!/usr/bin/env python3
"""fuzz.py: every target of tests/fuzz: first what was ever found and the corpus in the tree, then new inputs, on all processors. tools/test.sh and make nightly call it.

  tools/fuzz.py SECONDS [TARGET...]    about SECONDS of wall time in all, whatever the number of targets (0: only the replay)
    --jobs N      targets at a time (default: one a processor)
    --keep        afterwards build/corpus/TARGET is made small again: an input stays if it reaches what no other does
    --seed N      the same inputs each time, as far as the time allows: what a test refuses it has to refuse again (default 0: others each time)
    --figure      writes docs/figures/fuzz.json: machine, commit, seconds, executions, findings

A finding is left in build/log as TARGET-crash-…: give it a telling name in tests/fuzz/regress/TARGET/, where every stage runs it first, and mend what it shows.
Exit code: 0 nothing found, 1 otherwise.
"""
import argparse
import concurrent.futures
import datetime
import glob
import json
import os
import re
import shutil
import subprocess
import sys

import figures

ROOT = figures.ROOT
BINARIES = os.path.join(ROOT, 'build', 'fuzz', 'tests', 'fuzz')
CORPUS = os.path.join(ROOT, 'build', 'corpus')
LOG = os.path.join(ROOT, 'build', 'log')
COMMON = ['-timeout=10', '-rss_limit_mb=2048']  # seconds an input may take; a gateway's run takes 2 ms


def run(target, log, *arguments):
    """The exit code; what it printed is in build/log."""
    binary = os.path.join(BINARIES, 'fuzz_' + target)
    with open(log, 'w') as f:
        return subprocess.run([binary, *COMMON, f'-artifact_prefix={LOG}/{target}-', *arguments], stdout=f, stderr=subprocess.STDOUT, cwd=ROOT).returncode


def folders(target):
    return [d for d in (f'tests/fuzz/regress/{target}', f'tests/fuzz/corpus/{target}') if os.path.isdir(os.path.join(ROOT, d))]


def last(pattern, text):
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0


def merge(target):
    """Keeps the smallest inputs that reach all that build/corpus/TARGET reaches."""
    old, new = os.path.join(CORPUS, 'fuzz_' + target), os.path.join(CORPUS, 'fuzz_' + target + '.new')
    shutil.rmtree(new, ignore_errors=True)
    os.makedirs(new)
    if run(target, os.path.join(LOG, f'fuzz_{target}.merge'), '-merge=1', new, *folders(target), old) == 0:
        shutil.rmtree(old)
        os.rename(new, old)


def fuzz(target, seconds, keep, seed):
    corpus, log = os.path.join(CORPUS, 'fuzz_' + target), os.path.join(LOG, 'fuzz_' + target)
    os.makedirs(corpus, exist_ok=True)
    known = [p for d in folders(target) for p in sorted(glob.glob(os.path.join(ROOT, d, '*')))]
    result = {'target': target, 'known': len(known), 'executions': 0, 'coverage': 0, 'features': 0, 'corpus': 0, 'finding': ''}
    if known and run(target, log + '.known', *known) != 0:  # without a file it would fuzz, and for ever
        result['finding'] = 'of what was known'
        return result
    if seconds > 0:
        dictionary = os.path.join(ROOT, 'tests/fuzz/dict', target)
        more = [f'-dict={dictionary}'] if os.path.exists(dictionary) else []
        rc = run(target, log, f'-max_total_time={seconds}', '-print_final_stats=1', f'-seed={seed}', *more, corpus, *folders(target))
        said = open(log, errors='replace').read()
        result |= {'executions': last(r'(?m)^stat::number_of_executed_units: +(\d+)', said) or last(r'(?m)^#(\d+)\s', said), 'coverage': last(r'\bcov: (\d+)', said),
                   'features': last(r'\bft: (\d+)', said), 'finding': 'new' if rc != 0 else ''}
        if keep and rc == 0:
            merge(target)
    result['corpus'] = len(os.listdir(corpus))
    return result


def why(target, finding):
    """The lines that say what was wrong, and the input as text."""
    log = os.path.join(LOG, f'fuzz_{target}' + ('.known' if finding != 'new' else ''))
    for line in open(log, errors='replace'):
        if re.search(r'ASSERT|ERROR|SUMMARY|runtime error|Test unit|^Running: ', line):
            yield '    ' + line.rstrip()[:300]


def figure(results, seconds):
    raw = {'measure': 'fuzz', 'date': datetime.datetime.now(datetime.timezone.utc).strftime('%Y-%m-%d %H:%M UTC'), 'commit': figures.git('rev-parse', '--short=12', 'HEAD') or 'none',
           'changed': bool(figures.git('status', '--porcelain', '--', 'src', 'tests/fuzz')), 'command': 'make nightly', 'machine': figures.machine(), 'load_before': round(os.getloadavg()[0], 2),
           'how': 'libFuzzer with ASan and UBSan: each target replays what was found before and the corpus in the tree, then makes new inputs for its share of the time',
           'results': {'seconds': seconds, 'targets': len(results), 'executions': sum(r['executions'] for r in results), 'findings': sum(r['finding'] != '' for r in results)},
           'samples': results}
    with open(os.path.join(figures.RAW, 'fuzz.json'), 'w') as f:
        json.dump(raw, f, indent=1)
        f.write('\n')


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument('seconds', type=int)
    p.add_argument('targets', nargs='*')
    p.add_argument('--jobs', type=int, default=os.cpu_count())
    p.add_argument('--keep', action='store_true')
    p.add_argument('--seed', type=int, default=0)
    p.add_argument('--figure', action='store_true')
    o = p.parse_args()
    every = sorted(re.sub(r'.*fuzz_(\w+)\.c$', r'\1', path) for path in glob.glob(os.path.join(ROOT, 'tests/fuzz/fuzz_*.c')))
    targets = [t for t in every if not o.targets or t in o.targets]
    if not targets:
        sys.exit('no such target; there are: ' + ' '.join(every))
    os.makedirs(LOG, exist_ok=True)
    each = o.seconds * o.jobs // len(targets)
    with concurrent.futures.ThreadPoolExecutor(o.jobs) as pool:
        results = list(pool.map(lambda t: fuzz(t, each, o.keep, o.seed), targets))
    print(f'{"target":15} {"known":>5} {"executions":>11} {"a second":>8} {"coverage":>8} {"features":>8} {"corpus":>6}  finding')
    for r in results:
        rate = r['executions'] // each if each else 0
        print(f"{r['target']:15} {r['known']:5} {r['executions']:11,} {rate:8,} {r['coverage']:8,} {r['features']:8,} {r['corpus']:6,}  {r['finding'] or 'none'}")
        for line in why(r['target'], r['finding']) if r['finding'] else ():
            print(line)
    if o.figure:
        figure(results, o.seconds)
    failed = sum(r['finding'] != '' for r in results)
    print(f'{len(results) - failed} passed, {failed} failed')
    sys.exit(failed > 0)


if __name__ == '__main__':
    main()
