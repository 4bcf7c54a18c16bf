import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ExpositionFault } from '../../../../src/agent/app-metrics/exposition.ts';
import { createExpositionCheck, maxLineLength, reservedFamily } from '../../../../src/agent/app-metrics/exposition.ts';
import { noPrometheusBecause, promtool } from '../../../support/prometheus.ts';

/** What is wrong with a page that comes in pieces of so many bytes. */
function check(page: string | Uint8Array, pieceBytes = 64 * 1024): ExpositionFault | undefined {
  const bytes = Buffer.from(page);
  const reader = createExpositionCheck();
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    const fault = reader.take(bytes.subarray(at, at + pieceBytes));
    if (fault !== undefined) return fault;
  }
  return reader.end();
}

const why = (page: string | Uint8Array) => check(page)?.why;

/** The example of the format's own documentation. */
const documented = `# HELP http_requests_total The total number of HTTP requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400"}    3 1395066363000

# Escaping in label values:
msdos_file_access_time_seconds{path="C:\\\\DIR\\\\FILE.TXT",error="Cannot find file:\\n\\"FILE.TXT\\""} 1.458255915e9

# Minimalistic line:
metric_without_timestamp_and_labels 12.47

# A weird metric from before the epoch:
something_weird{problem="division by zero"} +Inf 3982045

# A histogram, which has a pretty complex representation in the text format:
# HELP http_request_duration_seconds A histogram of the request duration.
# TYPE http_request_duration_seconds histogram
http_request_duration_seconds_bucket{le="0.05"} 24054
http_request_duration_seconds_bucket{le="+Inf"} 144320
http_request_duration_seconds_sum 53423
http_request_duration_seconds_count 144320
`;

describe('A page in the text format', () => {
  it('is valid as its documentation writes it', () => {
    expect(check(documented)).toBeUndefined();
  });

  it.each([
    ['nothing at all', ''],
    ['no line feed at its end', 'a 1'],
    ['blank lines', '\n \t\na 1\n\n'],
    ['empty braces', 'a{} 1\n'],
    ['a comma behind the last label', 'a{b="c",} 1\n'],
    ['blanks wherever they may be', 'a {\tb = "c" ,\td="e" } \t1  2\n'],
    ['no blank behind the brace', 'a{b="c"}1\n'],
    ['colons in a name', ':a:b{c="d"} 1\n'],
    ['any character in a label', 'a{b="{},=# é 🦈 \t"} 1\n'],
    ['every kind of number', 'a 1\nb -1.5e-3\nc +.5\nd 1.\ne NaN\nf -Inf\ng +infinity\nh 1E300\ni 1e-999\n'],
    ['the longest time', 'a 1 999999999999999999\n'],
    ['a HELP without words, and one of blanks', '# HELP a\n# HELP b  \n'],
    ['a HELP with escapes', '# HELP a b\\\\c\\nd "e" \\\\\n'],
    ['a HELP and a TYPE in any order', '# TYPE a untyped\n# HELP a b\na 1\n'],
    ['comments of any kind', '#\n# a\n#a\n# HELPS x\n# UNIT a seconds\n# \\ \n'],
    ['the end of OpenMetrics, which is a comment here', 'a 1\n# EOF\nb 1\n'],
    ['samples of one family in two places', 'a 1\nb 1\na{c="d"} 1\n'],
    ['a histogram with all of its parts', '# TYPE a histogram\na_bucket{le="+Inf"} 1\na_sum 1\na_count 1\n'],
    ['a summary with all of its parts', '# TYPE a summary\na{quantile="0.5"} NaN\na_sum 1\na_count 1\n'],
    ['a family that is named like a part of another type', '# TYPE a counter\n# TYPE a_count counter\na_count 1\n'],
    ['one that is named like a bucket of a summary', '# TYPE a summary\n# TYPE a_bucket gauge\na_bucket{le="x"} 1\n'],
    ['words for a number in plain families', '# TYPE a gauge\na{le="b",quantile=""} 1\n'],
  ])('may have %s', (_what, page) => {
    expect(check(page)).toBeUndefined();
  });

  it.each([
    ['HTML', '<html>\n', 'neither a comment nor a sample'],
    ['JSON', '{"a": 1}\n', 'neither a comment nor a sample'],
    ['a blank in front of a name', ' a 1\n', 'neither a comment nor a sample'],
    ['a byte order mark', '\uFEFFa 1\n', 'neither a comment nor a sample'],
    ['a name without a value', 'a\n', 'a name without a value'],
    ['a name with another character', 'a-b 1\n', 'a name without a value'],
    ['a name in quotes, which only newer formats have', '{"a.b"} 1\n', 'neither a comment nor a sample'],
    ['labels without a value', 'a{b="c"}\n', 'no value'],
    ['a label without quotes', 'a{b=c} 1\n', 'labels that are not written'],
    ['a label with a colon', 'a{b:c="d"} 1\n', 'labels that are not written'],
    ['a label that ends nowhere', 'a{b="c} 1\n', 'labels that are not written'],
    ['a brace that is left open', 'a{b="c" 1\n', 'labels that are not written'],
    ['no comma between labels', 'a{b="c" d="e"} 1\n', 'labels that are not written'],
    ['a comma alone', 'a{,} 1\n', 'labels that are not written'],
    ['an escape that is none', 'a{b="\\d"} 1\n', 'labels that are not written'],
    ['a label twice', 'a{b="c",b="d"} 1\n', 'a label that comes twice'],
    ['the name as a label', 'a{__name__="b"} 1\n', 'a label that comes twice'],
    ['a word for a value', 'a one\n', 'a value that is no number'],
    ['a hexadecimal value', 'a 0x1p4\n', 'a value that is no number'],
    ['a value with underscores', 'a 1_000\n', 'a value that is no number'],
    ['a value that is too large', 'a 1e999\n', 'a value that is no number'],
    ['a sign in front of what is no number', 'a -NaN\n', 'a value that is no number'],
    ['a carriage return', 'a 1\r\n', 'a value that is no number'],
    ['a time that is a fraction', 'a 1 2.5\n', 'more behind it than a time'],
    ['a time before the epoch', 'a 1 -5\n', 'more behind it than a time'],
    ['a time that no integer of 64 bits is', 'a 1 9999999999999999999\n', 'more behind it than a time'],
    ['an exemplar of OpenMetrics', 'a_bucket{le="1"} 1 # {trace_id="x"} 0.5\n', 'more behind it than a time'],
    ['a type that is none', '# TYPE a unknown\n', 'a TYPE line that is not'],
    ['a type in capitals', '# TYPE a Counter\n', 'a TYPE line that is not'],
    ['a blank too many in front of a type', '# TYPE a  counter\n', 'a TYPE line that is not'],
    ['a blank behind a type', '# TYPE a counter \n', 'a TYPE line that is not'],
    ['a TYPE that some take for a comment', '#TYPE a b\n', 'a TYPE line that is not'],
    ['a HELP without a name', '# HELP\n', 'a HELP line without a name'],
    ['a HELP with a backslash', '# HELP a C:\\dir\n', 'a HELP line without a name'],
    ['two TYPE lines', '# TYPE a counter\na 1\n# TYPE a counter\n', 'a second TYPE line'],
    ['two HELP lines', '# HELP a b\n# HELP a c\n', 'a second HELP line'],
    ['a TYPE behind its samples', 'a 1\n# TYPE a counter\n', 'a TYPE line behind'],
    ['a blank behind a value', 'a 1 \n', 'more behind it than a time'],
    ['a blank behind a time', 'a 1 2\t\n', 'more behind it than a time'],
    ['a type of a part of a summary', '# TYPE a summary\n# TYPE a_count counter\n', 'a TYPE line of a part'],
    [
      'a type of a part of a histogram',
      '# TYPE a histogram\na_sum 1\n# TYPE a_bucket gauge\n',
      'a TYPE line of a part',
    ],
    ['a HELP of a part', '# HELP a b\n# TYPE a histogram\n# HELP a_sum c\n', 'a HELP line of a part'],
    ['a bucket up to a word', '# TYPE a histogram\na_bucket{le="b"} 1\n', 'a label le that is no number'],
    ['a bucket up to nothing', '# TYPE a histogram\na_bucket{b="c",le=""} 1\n', 'a label le that is no number'],
    ['a quantile of a word', '# TYPE a summary\na{quantile="b"} 1\n', 'a label quantile that is no number'],
    ['the character zero', 'a{b="\0"} 1\n', 'the character U+0000'],
  ])('has no %s', (_what, page, words) => {
    expect(check(page)?.result).toBe('invalid');
    expect(why(page)).toContain(words);
  });

  it('names the line', () => {
    expect(why('a 1\n\n# b\nc\n')).toMatch(/^line 4: /);
  });

  it('is in UTF-8', () => {
    expect(why(Buffer.from('a{b="\xe9"} 1\n', 'latin1'))).toContain('no UTF-8');
    expect(why(Buffer.from('# \xc3', 'latin1'))).toContain('no UTF-8');
  });

  it('has no line that must be held without end', () => {
    const line = `a{b="${'c'.repeat(maxLineLength)}"} 1`;
    expect(why(`${line}\n`)).toContain('more than');
    const reader = createExpositionCheck();
    expect(reader.take(Buffer.from(line))?.why).toContain('more than');
    expect(check(`# ${'a'.repeat(maxLineLength - 2)}\n`)).toBeUndefined();
  });

  it.each([
    '# HELP remora_ready x\n',
    '# TYPE remora_x gauge\n',
    'remora_ready 1\n',
    'istio_tcp_sent_bytes_total{a="b"} 1\n',
    'up 0\n',
    '# TYPE up gauge\n',
    'scrape_samples_scraped{a="b"} 5\n',
    'scrape_duration_seconds 5\n',
    'ALERTS{alertname="Down",alertstate="firing"} 1\n',
    'ALERTS_FOR_STATE 1\n',
  ])('has no family of the sidecar or of Prometheus itself: %s', (page) => {
    expect(check(page)?.result).toBe('reserved');
  });

  it('may have the families of other proxies, and names that only look like ours', () => {
    expect(
      check('istio_requests_total 1\nmy_remora_ready 1\nremora 1\nupdates 1\nscrape_pages_total 1\n'),
    ).toBeUndefined();
  });
});

const name = fc.stringMatching(/^[a-zA-Z_:][a-zA-Z0-9_:]{0,8}$/).filter((text) => !reservedFamily.test(text));
const labelName = fc.stringMatching(/^[a-zA-Z_][a-zA-Z0-9_]{0,5}$/).filter((text) => text !== '__name__');
const escaped = (text: string) => text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
const anyText = fc.string({ unit: 'grapheme', maxLength: 12 }).filter((text) => !text.includes('\0'));
const value = fc.oneof(
  fc
    .double()
    .map((number) => (Number.isFinite(number) ? String(number) : number > 0 ? '+Inf' : number < 0 ? '-Inf' : 'NaN')),
  fc.integer().map(String),
);
const labels = fc
  .uniqueArray(fc.tuple(labelName, anyText), { selector: ([text]) => text, maxLength: 4 })
  .map((list) => (list.length === 0 ? '' : `{${list.map(([key, text]) => `${key}="${escaped(text)}"`).join(',')}}`));
const sample = fc
  .tuple(labels, value, fc.option(fc.nat(), { nil: undefined }))
  .map(([of, number, time]) => `${of} ${number}${time === undefined ? '' : ` ${time}`}`);
const family = fc
  .tuple(name, anyText, fc.constantFrom('counter', 'gauge', 'untyped'), fc.array(sample, { maxLength: 4 }))
  .map(([of, words, kind, samples]) => ({
    name: of,
    text: [
      `# HELP ${of} ${words.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}`,
      `# TYPE ${of} ${kind}`,
      ...samples.map((rest) => `${of}${rest}`),
      '',
    ].join('\n'),
  }));
const page = fc
  .uniqueArray(family, { selector: (one) => one.name, maxLength: 5 })
  .map((families) => families.map(({ text }) => text).join(''));

describe('Any page', () => {
  it('that is valid passes, wherever it is cut', () => {
    fc.assert(
      fc.property(page, fc.integer({ min: 1, max: 40 }), (text, pieceBytes) => {
        expect(check(text, pieceBytes)).toBeUndefined();
      }),
    );
  });

  it('is valid or not, however it comes in pieces', () => {
    const byte = fc.oneof(fc.nat({ max: 255 }), fc.constantFrom(...Buffer.from('a1 #{}"=\n\né')));
    const bytes = fc.array(byte, { maxLength: 60 }).map((list) => Uint8Array.from(list));
    fc.assert(
      fc.property(bytes, fc.integer({ min: 1, max: 7 }), (given, pieceBytes) => {
        expect(check(given, pieceBytes) === undefined).toBe(check(given) === undefined);
      }),
      { numRuns: 2000 },
    );
  });

  it('that passes is left valid by another one behind it with other families', () => {
    const hostile = fc.oneof(
      fc.string({
        unit: fc.constantFrom('a', '#', ' ', '{', '}', '"', '\\', '=', ',', '1', '\n', 'TYPE', 'HELP'),
        maxLength: 30,
      }),
      page,
    );
    fc.assert(
      fc.property(hostile, (text) => {
        if (check(text) !== undefined) return;
        // By a reading of its own: each line is a comment, blank, or a name, labels and numbers.
        const line = /^(?:[ \t]*|#[^\n]*|[a-zA-Z_:][\w:]*[ \t]*(?:\{[^\n]*\})?[ \t]*[-+.\w]+(?:[ \t]+\d+)?[ \t]*)$/u;
        for (const one of text.split('\n')) expect(one).toMatch(line);
        for (const one of text.split('\n')) expect(one).not.toMatch(/^(?:# (?:HELP|TYPE) )?(?:remora_|istio_tcp_)/);
      }),
      { numRuns: 2000 },
    );
  });

  it('that is changed in one byte passes only as a page of lines', () => {
    fc.assert(
      fc.property(page, fc.nat(), fc.nat({ max: 255 }), (text, at, byte) => {
        const bytes = Buffer.from(text);
        if (bytes.length === 0) return;
        bytes[at % bytes.length] = byte;
        // Whatever is said, it is said of bytes that came: no exception, and a line that there is.
        const fault = check(bytes);
        if (fault !== undefined)
          expect(Number(/^line (\d+): /.exec(fault.why)?.[1])).toBeLessThanOrEqual(text.length + 1);
      }),
    );
  });
});

/** Lines of families whose names and labels mean something to each other, so that they get in each other's way. */
const familyName = fc
  .tuple(fc.constantFrom('a', 'b'), fc.constantFrom('', '', '_count', '_sum', '_bucket'))
  .map((parts) => parts.join(''));
const entangled = fc.oneof(
  fc
    .tuple(familyName, fc.constantFrom('counter', 'gauge', 'histogram', 'summary', 'untyped'))
    .map((parts) => `# TYPE ${parts.join(' ')}`),
  familyName.map((of) => `# HELP ${of} words`),
  fc
    .tuple(
      familyName,
      fc.constantFrom('', '{le="1"}', '{le="+Inf"}', '{le="x"}', '{le=""}', '{quantile="0.5"}', '{quantile="x"}'),
      fc.constantFrom(' 1', ' NaN', '\t1', ' 1 2', ' 1 ', ' 1 2 ', ' 1\t2'),
    )
    .map((parts) => parts.join('')),
);

describe.skipIf(noPrometheusBecause !== undefined)(`Prometheus' own tool ${noPrometheusBecause ?? ''}`, () => {
  it('takes whatever passes', { timeout: 60_000 }, () => {
    const passing = fc
      .array(entangled, { minLength: 2, maxLength: 5 })
      .map((lines) => `${lines.join('\n')}\n`)
      .filter((text) => /histogram|summary/.test(text) && check(text) === undefined);
    fc.assert(
      fc.property(passing, (text) => {
        expect(promtool(['check', 'metrics'], text).said).not.toContain('parsing error');
      }),
      { numRuns: 40 },
    );
  });
});
