import fc from 'fast-check';
import { applyPatch } from 'rfc6902';
import { expect, it } from 'vitest';
import { stringify } from 'yaml';
import type { Operation } from '../../../src/injector/patch.ts';
import { pointer } from '../../../src/injector/patch.ts';
import type { YamlDocument } from '../../../src/injector/yaml-text.ts';
import { patchedYaml, readYaml } from '../../../src/injector/yaml-text.ts';

function documentOf(text: string): YamlDocument {
  const read = readYaml(text);
  if (read.kind === 'broken') throw new Error(read.problems.join('\n'));
  return read.documents[0]!;
}

const names = ['a', 'b', 'on', 'null', '007', '-', '# x', 'a/b', 'a~b', '', '1.5'];
const text = fc.string({ unit: 'grapheme', maxLength: 6 }).filter((word) => word !== '__proto__' && word !== '<<');

function values(name: fc.Arbitrary<string>): fc.Arbitrary<unknown> {
  const plain = fc.oneof(name, fc.integer(), fc.boolean(), fc.constant(null), fc.constant('two\nlines\n'));
  return fc.letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 4, depthSize: 'small' },
      plain,
      fc.array(tie('value'), { maxLength: 3 }),
      fc.dictionary(name, tie('value'), { maxKeys: 3, noNullPrototype: true }),
    ),
  })).value;
}

const anyName = fc.oneof(fc.constantFrom(...names), text);
const root = fc.dictionary(anyName, values(anyName), { minKeys: 1, maxKeys: 4, noNullPrototype: true });
const freshValue = values(fc.oneof(fc.constantFrom(...names), text));

/** Every pointer to a collection in the value, the value's own included. */
function collections(value: unknown, path = ''): { path: string; value: object }[] {
  if (typeof value !== 'object' || value === null) return [];
  const inner = Object.entries(value).flatMap(([key, member]) => collections(member, `${path}${pointer(key)}`));
  return [{ path, value }, ...inner];
}

/** An operation that fits the value; `dice` chooses. */
function operationFor(value: unknown, dice: number, fresh: unknown): Operation | undefined {
  const all = collections(value);
  const { path, value: chosen } = all[dice % all.length]!;
  const keys = Object.keys(chosen);
  const key = keys[(dice >> 4) % Math.max(keys.length, 1)];
  const isArray = Array.isArray(chosen);
  switch ((dice >> 8) % 3) {
    case 0:
      if (isArray) return { op: 'add', path: `${path}${pointer(dice % 2 === 0 ? '-' : 0)}`, value: fresh };
      return { op: 'add', path: `${path}${pointer(`new-${dice % 3}`)}`, value: fresh };
    case 1:
      return key === undefined ? undefined : { op: 'replace', path: `${path}${pointer(key)}`, value: fresh };
    default:
      // What would leave a collection empty is refused in block style; what a document has from a merge stays.
      return path === '' || keys.length < 2 || key === undefined
        ? undefined
        : { op: 'remove', path: `${path}${pointer(key)}` };
  }
}

const layouts = fc.constantFrom(
  (value: unknown) => stringify(value, { lineWidth: 0, version: '1.1' }),
  (value: unknown) => stringify(value, { lineWidth: 0, version: '1.1', indentSeq: false, indent: 4 }),
  (value: unknown) => stringify(value, { lineWidth: 0, version: '1.1', collectionStyle: 'flow' }),
  (value: unknown) => stringify(value, { lineWidth: 0, version: '1.1' }).replaceAll('\n', '\r\n'),
  (value: unknown) => stringify(value, { lineWidth: 0, version: '1.1', blockQuote: false }).replace(/\n$/, ''),
  (value: unknown) => `${JSON.stringify(value, null, 4)}\n`,
  (value: unknown) => JSON.stringify(value),
);

it('the text means what the patch makes of its meaning, in every layout', () => {
  const steps = fc.array(fc.tuple(fc.nat(), freshValue), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(root, steps, layouts, (value, dice, layout) => {
      const document = documentOf(layout(value));
      const expected = structuredClone(document.value);
      const patch: Operation[] = [];
      for (const [number, fresh] of dice) {
        const operation = operationFor(expected, number, fresh);
        if (operation !== undefined && applyPatch(expected, [structuredClone(operation)])[0] === null)
          patch.push(operation);
      }
      const written = patchedYaml(document, patch);
      expect(written).toBeDefined();
      expect(documentOf(written!.text).value).toEqual(expected);
    }),
    { numRuns: 500 },
  );
});

it.each<Operation>([
  { op: 'add', path: '/a/b', value: 1 },
  { op: 'remove', path: '/b' },
  { op: 'replace', path: '/c/7', value: 1 },
])('a patch that does not fit is a mistake of the program: $op $path', (operation) => {
  expect(() => patchedYaml(documentOf('a: 1\nc: [x]\n'), [operation])).toThrow(TypeError);
});
