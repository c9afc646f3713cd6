"""test_bench_report.py: the page that `weir bench --html` writes, as XML parsers and Chromium see it: whole, readable, nothing cut off or on top of each other."""
import atexit
import html
import json
import re
import shutil
import subprocess
import tempfile
import xml.dom.minidom
import zlib
from pathlib import Path

import rig
from rig import WEIR, Mock

FOLDER = Path(tempfile.mkdtemp(prefix='weir-report.'))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
BROWSER_S = 40

# Appended to a copy of the page: what a person would see at once. Texts of a chart are compared by their boxes, one pixel of grace.
LOOK = '''<script>
const wrong = [];
const box = e => e.getBoundingClientRect();
if (document.documentElement.scrollWidth > innerWidth) wrong.push('the page is wider than its window');
for (const svg of document.querySelectorAll('svg')) {
  const whole = box(svg), texts = [...svg.querySelectorAll('text')].filter(t => t.textContent);
  if (whole.width < 300 || whole.height < 150) wrong.push(svg.ariaLabel + ' is small');
  texts.forEach((t, i) => {
    const a = box(t);
    if (a.left < whole.left - 1 || a.right > whole.right + 1 || a.bottom > whole.bottom + 1) wrong.push(svg.ariaLabel + ': cut off: ' + t.textContent);
    if (a.height < 8) wrong.push(svg.ariaLabel + ': too small: ' + t.textContent);
    for (const u of texts.slice(i + 1)) {
      const b = box(u);
      if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1)
        wrong.push(svg.ariaLabel + ': ' + t.textContent + ' covers ' + u.textContent);
    }
  });
}
document.title = JSON.stringify({wrong, width: innerWidth});
</script>'''


def browser(*arguments):
    command = ['chromium', '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--hide-scrollbars', f'--user-data-dir={FOLDER}/profile', *arguments]
    done = subprocess.run(command, capture_output=True, timeout=BROWSER_S)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return done.stdout.decode()


def bench(*arguments):
    """A short test of a mock that fails now and then: the page, and the result as JSON."""
    page, numbers = FOLDER / 'report.html', FOLDER / 'report.json'
    with Mock('--ttft', 'lognormal(5ms,0.5)', '--itl', '1ms', '--tokens', '5', '--fault', 'status=503:0.05') as m:
        done = subprocess.run([WEIR, 'bench', m.url, '--rate', '150', '--duration', '2s', '--stream', '--pid', str(m.child.pid), '--html', page, '--json', numbers, *arguments],
                              capture_output=True, timeout=30)
    assert done.returncode in (0, 1, 3), done
    return page.read_text(), json.loads(numbers.read_text()), done.returncode


def picture_rows(file):
    """Of a PNG: how many rows it has, and how many of them are neither of one colour nor like the row above (PNG's filters leave zeroes there)."""
    data = file.read_bytes()
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    channels = {2: 3, 6: 4}[data[25]]
    packed, at = b'', 8
    while at < len(data):
        length = int.from_bytes(data[at:at + 4])
        if data[at + 4:at + 8] == b'IDAT':
            packed += data[at + 8:at + 8 + length]
        at += length + 12
    raw, row = zlib.decompress(packed), width * channels + 1
    return height, sum(1 for i in range(height) if any(raw[i * row + 1 + channels:(i + 1) * row]))


def test_page_is_whole_and_readable_in_a_browser():
    page, numbers, code = bench('--criteria', 'p95 < 10s', '--criteria', 'error_rate < 0.1%')
    for svg in re.findall(r'<svg.*?</svg>', page, re.S):
        xml.dom.minidom.parseString(svg)
    assert not re.search(r'<script|<link|<img|<iframe|@import|url\(|\b(?:src|href)="(?!#)', page)
    assert numbers['verdict'] == 'invalid' or (code == 1 and 'Missed: 1 of 2 criteria, the first of them error_rate &lt; 0.1%' in page), numbers['verdict']
    charts = ['Latency over time', 'Percentiles', 'Rate over time', 'In flight over time', 'Tokens over time', 'Errors over time', "The server's CPU", "The server's memory"]
    assert re.findall(r'aria-label="([^"]*)"', page) == charts
    assert f'<dd>{numbers["requests"]}' in page and 'http_503' in page

    copy = FOLDER / 'copy.html'
    copy.write_text(page.replace('</body>', LOOK + '</body>'))
    for width in (1200, 500):    # Chromium's own windows are no narrower
        seen = browser('--dump-dom', f'--window-size={width},2000', copy.as_uri())
        look = json.loads(html.unescape(re.search('<title>(.*?)</title>', seen, re.S).group(1)))
        assert look == {'wrong': [], 'width': width}, look
        for element in ('<svg', '<path', '<rect', '<circle', '<text', '<tr', '<dd'):
            assert seen.count(element) == page.count(element), element     # the browser found each, and none was closed early

    browser(f'--screenshot={FOLDER}/page.png', '--window-size=800,1200', (FOLDER / 'report.html').as_uri())
    height, drawn = picture_rows(FOLDER / 'page.png')
    assert height == 1200 and drawn > 400, (height, drawn)      # of a blank page it is none


def test_a_hostile_target_stays_text():
    attack = '<img/src=x>"onload=\'alert(1)\''
    file = FOLDER / 'hostile.html'
    with Mock() as m:
        subprocess.run([WEIR, 'bench', f'{m.url}/{attack}', '--api', 'plain', '--rate', '20', '--duration', '1s', '--html', file], capture_output=True, timeout=30)
    page = file.read_text()
    assert '<img' not in page and 'x>"' not in page
    assert attack in html.unescape(page)


rig.run(globals())
