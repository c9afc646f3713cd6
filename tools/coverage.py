#!/usr/bin/env python3
"""coverage.py SUMMARY [--figure]: prints what llvm-cov counted, by folder, with the files that lag behind; tools/coverage.sh calls it.
--figure writes docs/figures/coverage.json, and fails where figures.py asks for more."""
import datetime
import json
import sys

import figures

FILE_LEAST = 85     # a file below it is named
# Parsers and gates: a condition there counts when tests have shown that it alone decides (MC/DC)
JUDGED = 'net/http_parse.c net/http_refuse.c net/http_head.c net/sse.c fleet/slots.c fleet/queue.c base/json.c base/text.c'.split()


def share(covered, count):
    return round(100 * covered / count, 1) if count else 100.0


def read(path):
    """Of each .c file: its name below src/, lines as (covered, count), conditions as (covered, count)."""
    for f in json.load(open(path))['data'][0]['files']:
        name = f['filename'].rpartition('/src/')[2]
        if name.endswith('.c'):
            yield name, *((f['summary'][what]['covered'], f['summary'][what]['count']) for what in ('lines', 'mcdc'))


def added(pairs):
    return [sum(column) for column in zip(*pairs)]


def main():
    files = list(read(sys.argv[1]))
    folders = {name: added(lines for file, lines, _ in files if file.startswith(name + '/')) for name in sorted({file.split('/')[0] for file, _, _ in files})}
    conditions = {file: pair for file, _, pair in files if file in JUDGED and pair[1] > 0}  # where one condition decides alone, the lines say it all
    total = added(folders.values())
    for name, lines in [*folders.items(), ('src', total)]:
        print(f'{name:<10} {share(*lines):5.1f} % of {lines[1]} lines')
    for file, lines, _ in sorted(files, key=lambda f: share(*f[1])):
        if share(*lines) < FILE_LEAST:
            print(f'behind: src/{file} {share(*lines)} %, {lines[1] - lines[0]} lines not reached')
    for file, pair in conditions.items():
        print(f'MC/DC of src/{file}: {share(*pair)} % of {pair[1]} conditions')
    if sys.argv[2:] != ['--figure']:
        return 0
    results = {'lines': {'src': share(*total)} | {name: share(*lines) for name, lines in folders.items()}, 'line_count': total[1],
               'mcdc': {'all': share(*added(conditions.values()))} | {file: share(*pair) for file, pair in conditions.items()}}
    figures.keep({'measure': 'coverage', 'date': datetime.datetime.now(datetime.timezone.utc).strftime('%Y-%m-%d %H:%M UTC'), 'commit': figures.git('rev-parse', '--short=12', 'HEAD') or 'none',
                  'changed': bool(figures.git('status', '--porcelain', '--', 'src', 'tests', 'Makefile')), 'command': 'make coverage',
                  'how': 'lines and conditions counted by clang while units, simulations, faults, flows, clients and hostile peers ran', 'results': results, 'samples': []})
    missed = [f for f in figures.FIGURES if f.raw == 'coverage' and not figures.verdict(f, {'results': results})[2]]
    for f in missed:
        print(f'coverage: {f.name}: {figures.number(f.value(results), f.unit)}, where {figures.asked(f)} is asked')
    return 1 if missed else 0


if __name__ == '__main__':
    sys.exit(main())
