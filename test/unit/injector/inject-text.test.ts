import { globSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import type { Injection } from '../../../src/injector/inject.ts';
import { injectPod } from '../../../src/injector/inject.ts';
import type { InjectedText } from '../../../src/injector/inject-text.ts';
import { injectText } from '../../../src/injector/inject-text.ts';
import { readInjectionSettings } from '../../../src/injector/settings.ts';
import { readYaml } from '../../../src/injector/yaml-text.ts';
import { fakeInjection } from '../../support/fake-injector.ts';

const folder = resolve(import.meta.dirname, '../../golden/inject');
const inputs = globSync('*.{yaml,json}', { cwd: folder })
  .filter((name) => !name.includes('.out.'))
  .sort();
const settings = readInjectionSettings({
  path: 'settings.yaml',
  text: 'image: registry.example.com/remora:0.1.0\nmeshNetworks: [10.0.0.0/8]\n',
});

const textOf = (result: InjectedText) => (result.kind === 'done' ? result.text : result.problems.join('\n'));
const problemsOf = (text: string) => {
  const result = injectText(text, 'default', fakeInjection);
  return result.kind === 'refused' ? result.problems : [];
};
const nothing = (): Injection => ({ kind: 'injected', patch: [], warnings: [] });
const pod = (spec: string, metadata = '{}') => `apiVersion: v1\nkind: Pod\nmetadata: ${metadata}\nspec:\n${spec}`;

describe.each(inputs)('the file %s', (name) => {
  const text = readFileSync(join(folder, name), 'utf8');

  it('gets the sidecar and keeps the rest as it was', async () => {
    const inject = name.startsWith('real-')
      ? (value: unknown, context: Parameters<typeof injectPod>[1]) => injectPod(value, context, settings)
      : fakeInjection;
    const result = injectText(text, 'default', inject);
    expect(result.kind, textOf(result)).toBe('done');
    await expect(textOf(result)).toMatchFileSnapshot(join(folder, name.replace('.', '.out.')));
  });

  it('keeps every comment, except where aliases are expanded', () => {
    const comments = (of: string) => of.match(/(?<=^|\s)#.*/gm) ?? [];
    const kept = comments(textOf(injectText(text, 'default', fakeInjection)));
    expect(kept).toEqual(name.startsWith('anchors') ? [] : comments(text));
  });

  it('comes out byte for byte when nothing is to be changed', () => {
    expect(textOf(injectText(text, 'default', nothing))).toBe(text);
  });

  it('comes out with text that readers of YAML 1.1 and of 1.2 take alike', () => {
    const output = textOf(injectText(text, 'default', fakeInjection));
    const as = (version: '1.1' | '1.2') =>
      parseAllDocuments(output, { version, merge: true }).flatMap((document) => textsAddedIn(document.toJS()));
    expect(as('1.1')).toEqual(as('1.2'));
    if (!name.startsWith('real-')) expect(as('1.2')).toContain('007');
  });
});

/** The arguments of the containers that were added, and the annotations, wherever they are. */
function textsAddedIn(value: unknown): unknown[] {
  if (typeof value !== 'object' || value === null) return [];
  const { name, args, annotations } = value as { name?: unknown; args?: unknown[]; annotations?: object };
  const own = [...(name === 'remora-init' ? (args ?? []) : []), ...Object.entries(annotations ?? {}).flat()];
  return [...own, ...Object.values(value).flatMap(textsAddedIn)];
}

describe('YAML as kubectl reads it', () => {
  const seen = (text: string) => {
    const pods: unknown[] = [];
    const result = injectText(text, 'default', (value) => {
      pods.push(value);
      return nothing();
    });
    expect(result.kind, textOf(result)).toBe('done');
    return pods;
  };

  it.each([
    ['yes', true],
    ['On', true],
    ['y', true],
    ['off', false],
    ['NO', false],
    ['"yes"', 'yes'],
    ['!!str yes', 'yes'],
    ['!!bool "on"', true],
    ['010', 8],
    ['0x1F', 31],
    ['-0b11', -3],
    ['1_000', 1000],
    ['08', 8],
    ['1e3', 1000],
    ['12:30:45', '12:30:45'],
    ['2001-01-01', '2001-01-01'],
    ['~', null],
    ['', null],
    ['0.1.0', '0.1.0'],
    ['.5', 0.5],
  ])('reads %s as %j', (written, value) => {
    expect(seen(pod(`  hostNetwork: ${written}\n`))).toEqual([
      expect.objectContaining({ spec: { hostNetwork: value } }),
    ]);
  });

  it('W7: sees a pod on the network of its node whatever word says so, also through a merge', () => {
    const text = pod('  <<: {hostNetwork: on}\n  containers: [{name: a}]\n');
    const result = injectText(text, 'default', (value, context) => injectPod(value, context, settings));
    expect(result).toEqual({
      kind: 'done',
      text,
      remarks: [expect.stringMatching(/^Pod default\/\(without a name\): skipped: .*hostNetwork/)],
    });
  });

  it('refuses a merge behind a key that it brings too: kubectl takes the one that comes last', () => {
    const merged = (spec: string) => pod(`  ${spec}\n  containers: [{name: a}]\n`);
    for (const spec of ['hostNetwork: false\n  <<: {hostNetwork: true}', 'a: &a {b: 1}\n  b: 2\n  <<: [{c: 1}, *a]']) {
      expect(problemsOf(merged(spec))).toEqual([expect.stringMatching(/^Document 1, line \d, column 3: A merge /)]);
    }
    expect(problemsOf(merged('a: 1\n  <<: {b: 2}\n  c: 3\n  b: 4'))).toEqual([]);
  });

  it('makes text of keys as JSON has them', () => {
    expect(seen(pod('  1: a\n  yes: b\n  "c": d\n'))).toEqual([
      expect.objectContaining({ spec: { 1: 'a', true: 'b', c: 'd' } }),
    ]);
  });
});

describe('a broken input', () => {
  it.each([
    ['a duplicate key', 'a: 1\n---\nb: 1\n"b": 2\n', 'Document 2, line 4, column 1: Map keys must be unique'],
    ['an unknown tag', 'a: !x 1\n', 'Document 1, line 1, column 4: Unresolved tag: !x'],
    ['an alias without an anchor', 'a: *x\n', /^Document 1, line 1, column 1: Unresolved alias/],
    ['an alias that contains itself', 'a: &a [*a]\n', 'Document 1, line 1, column 1: An alias contains itself'],
    ['a bracket that is left open', 'a: [\n', /^Document 1, line \d+, column \d+: Flow sequence/],
    ['a list', '- a\n', 'Document 1 is no mapping, expected a Kubernetes object'],
    ['a sentence', 'Error from server\n', 'Document 1 is no mapping, expected a Kubernetes object'],
    ['blanks', ' \n', 'The input is empty, expected Kubernetes YAML or JSON'],
    ['brackets without end', '['.repeat(100_000), /^Document 1, line 1, column \d+: /],
  ])('%s is refused in one sentence', (_, text, problem) => {
    expect(problemsOf(text)).toEqual([typeof problem === 'string' ? problem : expect.stringMatching(problem)]);
  });

  it('keeps the end of a document that no other marker separates from the next one', () => {
    const text = `${pod('  containers: [{name: a}]\n')}...\n${pod('  containers: [{name: b}]\n')}`;
    const output = textOf(injectText(text, 'default', fakeInjection));
    expect(parseAllDocuments(output).flatMap(({ errors }) => errors)).toEqual([]);
    expect(parseAllDocuments(output)).toHaveLength(2);
  });

  it('writes what it adds without anchors, also where it adds the same twice', () => {
    const result = injectText(pod('  containers: [{name: a}]\n'), 'default', (value, context) =>
      injectPod(value, context, settings),
    );
    expect(textOf(result)).not.toMatch(/[&*]a\d/);
  });

  it('an alias bomb is refused in one sentence', () => {
    const levels = Array.from(
      { length: 20 },
      (_, level) => `a${level + 1}: &a${level + 1} [${`*a${level},`.repeat(9)}]`,
    );
    expect(problemsOf(`a0: &a0 x\n${levels.join('\n')}\n`)).toEqual([
      expect.stringMatching(/Excessive alias count indicates a resource exhaustion attack$/),
    ]);
  });

  it('W5: a refused pod keeps everything back, and every problem carries the name of its object', () => {
    const text = `${pod('  a: 1\n', '{name: x}')}---\n${pod('  b: 1\n', '{name: db, namespace: shop}')}`;
    const result = injectText(text, 'other', (value) =>
      JSON.stringify(value).includes('"db"')
        ? { kind: 'refused', problems: ['One', 'Two\nlines'] }
        : fakeInjection(value),
    );
    expect(result).toEqual({ kind: 'refused', problems: ['Pod shop/db: One', 'Pod shop/db: Two lines'] });
  });
});

it('the sidecar stands above the comment of the container that was first', () => {
  const text = pod('  initContainers:\n  # about prepare\n  - name: prepare\n  containers:\n  - name: a\n');
  const output = textOf(injectText(text, 'default', fakeInjection));
  expect(output).toMatch(/name: remora\n[^#]*# about prepare\n {2}- name: prepare\n/);
});

it('numbers of JSON that JavaScript would round come out as they went in', () => {
  const spec = '{"containers":[{"name":"a","x":12345678901234567891,"y":1.0,"z":1e3}]}';
  const output = textOf(injectText(`{"apiVersion":"v1","kind":"Pod","spec":${spec}}`, 'default', fakeInjection));
  expect(output).toContain('"x":12345678901234567891,"y":1.0,"z":1e3');
  expect(JSON.parse(output).spec.initContainers).toHaveLength(2);
});

it('what nobody takes for a pod is said: other kinds with a template, and words that stand on a workload', () => {
  const template = 'template: {spec: {containers: [{name: a}]}}';
  const rollout = `apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: r}\nspec: {${template}}\n`;
  const metadata = '{name: web, labels: {remora.dev/inject: "false"}, annotations: {sidecar.istio.io/proxyCPU: 1m}}';
  const deployment = `apiVersion: apps/v1\nkind: Deployment\nmetadata: ${metadata}\nspec: {${template}}\n`;
  const result = injectText(`${rollout}---\n${deployment}`, 'shop', fakeInjection);
  expect(result).toMatchObject({
    kind: 'done',
    remarks: [
      "Rollout r: skipped: It is no workload of Kubernetes' own",
      expect.stringMatching(/^Deployment shop\/web: warning: remora\.dev\/inject stands on the workload/),
      expect.stringMatching(/^Deployment shop\/web: warning: sidecar\.istio\.io\/proxyCPU stands/),
    ],
  });
});

it('an empty document at the end stays', () => {
  const text = '# nothing\n---\n';
  expect(textOf(injectText(text, 'default', fakeInjection))).toBe(text);
});

it('a document with aliases is written anew, and whoever shares an anchor keeps what it had', () => {
  const text = `${pod('  containers: &c\n  - name: a # first\n')}other: *c\n`;
  const result = injectText(text, 'default', fakeInjection);
  expect(result).toMatchObject({ kind: 'done', remarks: [expect.stringContaining('its comments are lost')] });
  expect(parseAllDocuments(textOf(result))[0]?.toJS()).toMatchObject({ other: [{ name: 'a' }] });
});

it('is done twice without a change in meaning of the first', () => {
  const once = textOf(injectText(pod('  containers:\n  - name: a\n'), 'default', fakeInjection));
  expect(textOf(injectText(once, 'default', nothing))).toBe(once);
  expect(readYaml(once).kind).toBe('documents');
});

it('W16: an injected Job and CronJob say to the injector that they end', () => {
  const contexts: unknown[] = [];
  const job = 'apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\nspec: {template: {spec: {}}}\n';
  injectText(job, 'shop', (_, context) => {
    contexts.push(context);
    return nothing();
  });
  expect(contexts).toEqual([{ namespace: 'shop', workloadName: 'j', isJob: true }]);
});
