import fc from 'fast-check';
import { expect, it } from 'vitest';
import { LineCounter, parseAllDocuments } from 'yaml';
import { documentsIn } from '../../../../src/control-plane/store/documents.ts';
import { readText, readTextInTurns } from '../../../../src/control-plane/store/yaml.ts';

const rule = '  - from:\n    - source: {principals: ["cluster.local/ns/web/sa/default"], ipBlocks: ["10.0.0.0/24"]}\n';
const policy = (name: string, rules: number) =>
  `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: ${name}}\nspec:\n  rules:\n${rule.repeat(rules)}`;

/** How many turns others had while a text was read. */
async function turnsOf(text: string): Promise<number> {
  let turns = 0;
  let isOver = false;
  const turn = () => {
    turns += 1;
    if (!isOver) setImmediate(turn);
  };
  setImmediate(turn);
  expect(await readTextInTurns(text)).toEqual(readText(text));
  isOver = true;
  return turns;
}

it('lets all else go on within one large object, and between the documents and objects of a file', async () => {
  expect(await turnsOf(policy('large', 500))).toBeGreaterThan(15);
  const names = Array.from({ length: 50 }, (_, index) => `p${index}`);
  expect(await turnsOf(names.map((name) => policy(name, 1)).join('---\n'))).toBeGreaterThan(150);
  const items = names.map((name) => ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } }));
  expect(await turnsOf(JSON.stringify({ apiVersion: 'v1', kind: 'List', items }))).toBeGreaterThan(50);
});

it('has what is broken in a text at once and in turns alike', async () => {
  await turnsOf(`a: [\n---\n${policy('sound', 1)}---\nx: y\n--- !odd\n{}\n`);
  await turnsOf('');
});

it('has the documents of any text, and the lines in it, as the library has them', () => {
  const words = fc.constantFrom(
    'a',
    ': ',
    '- ',
    '\n',
    '  ',
    '---\n',
    '...\n',
    '%YAML 1.2\n',
    '"',
    "'",
    '{',
    '}',
    '&x ',
    '*x',
    '# c',
    '|\n',
    '\t',
  );
  fc.assert(
    fc.property(fc.array(words, { maxLength: 40 }), (drawn) => {
      const text = drawn.join('');
      const [lines, expectedLines] = [new LineCounter(), new LineCounter()];
      const options = { prettyErrors: false, uniqueKeys: false, logLevel: 'silent' } as const;
      const documents = [...documentsIn(text, { ...options, lineCounter: lines })].filter((one) => one !== undefined);
      const expected = [...parseAllDocuments(text, { ...options, lineCounter: expectedLines })];
      const shown = (all: typeof documents) =>
        all.map(({ range, errors, warnings, contents }) => JSON.stringify([range, errors, warnings, contents]));
      expect(shown(documents)).toEqual(shown(expected));
      expect(lines.lineStarts).toEqual(expectedLines.lineStarts);
    }),
    { numRuns: 500 },
  );
});
