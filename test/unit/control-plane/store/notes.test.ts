import { describe, expect, it } from 'vitest';
import type { FileNote } from '../../../../src/control-plane/store/note.ts';
import { noteText } from '../../../../src/control-plane/store/note.ts';
import { createNotesLog, maxNotesLogged } from '../../../../src/control-plane/store/notes-log.ts';
import { readText, readYaml } from '../../../../src/control-plane/store/yaml.ts';
import { captureLog } from '../../../support/captured-log.ts';

const policy = (spec: string, version = 'v1') => `apiVersion: security.istio.io/${version}
kind: AuthorizationPolicy
metadata: {name: api, namespace: shop}
${spec}`;
const texts = (text: string) => readText(text).notes.map((note) => noteText({ ...note, file: 'a.yaml' }));

describe('where a note stands', () => {
  it('is the value, or the name of a field that is not known, or what is around a field that is missing', () => {
    const text = policy(`spec:
  rules:
  - from:
    - source:
        ipBlocks:
        - 10.0.0.1
        - 10.0.0.300
        principal: [a]
    to: [{}]
`);
    expect(texts(text)).toEqual([
      'a.yaml:10:11: AuthorizationPolicy shop/api: spec.rules[0].from[0].source.ipBlocks[1] is "10.0.0.300", expected an IP address or a CIDR',
      'a.yaml:11:9: AuthorizationPolicy shop/api: spec.rules[0].from[0].source.principal is not known, did you mean principals?',
      'a.yaml:12:10: AuthorizationPolicy shop/api: spec.rules[0].to[0].operation is missing',
    ]);
  });

  it('is found through an alias, in a List, in JSON and behind a number as a key', () => {
    const list = `apiVersion: v1
kind: List
items:
- {apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: a}, spec: {selector: &s {matchLabels: {a: b}}}}
- apiVersion: security.istio.io/v1
  kind: PeerAuthentication
  metadata: {name: b}
  spec:
    selector: *s
    portLevelMtls:
      8080: {mode: OFF}
`;
    const [note] = texts(list);
    expect(note).toContain('a.yaml:11:20: PeerAuthentication default/b: spec.portLevelMtls["8080"].mode is "OFF"');
    const json = JSON.stringify({
      apiVersion: 'security.istio.io/v1',
      kind: 'PeerAuthentication',
      metadata: { name: 'a' },
      spce: 1,
    });
    expect(texts(json)).toEqual([
      `a.yaml:1:${json.indexOf('"spce"') + 1}: PeerAuthentication default/a: spce is not known, did you mean spec?`,
    ]);
  });
});

it('P4: takes 8080 and "8080" for the same key, so that neither hides behind the other', () => {
  const text = policy('spec: {selector: {matchLabels: {1: "a", "1": "b"}}}\n');
  expect(readYaml(text)).toEqual({ kind: 'broken', position: { line: 4, column: 41 }, why: 'Map keys must be unique' });
});

it('G1: finds a key that is there twice among very many, in one pass', () => {
  const keys = Array.from({ length: 20_000 }, (_, index) => `key${index}: a`);
  const read = (lines: readonly string[]) => readYaml(`apiVersion: v1\nkind: ConfigMap\n${lines.join('\n')}\n`);
  expect(read(keys).kind).toBe('objects');
  expect(read([...keys, 'key7: b'])).toMatchObject({ kind: 'broken', position: { line: 20_003, column: 1 } });
  expect(read(['a: &a x', 'x: 1', '*a : 2'])).toMatchObject({
    kind: 'broken',
    why: 'A key is no single value, expected a name',
  });
});

it('G6: keeps an object of policy that cannot be followed, and breaks no text for it', () => {
  const read = readYaml(
    `${policy('spec: {action: CUSTOM}\n')}---\n${policy('spec: []\n', 'v9').replace('name: api', 'name: b')}`,
  );
  expect(read).toMatchObject({
    kind: 'objects',
    objects: [{}, {}],
    notes: [{ severity: 'problem' }, { severity: 'problem' }],
  });
});

it('finds what is broken in every document and object of a text', () => {
  const bad = 'apiVersion: v1\nkind: Pod\nmetadata: {name: A}\nspec: {}\n';
  const { broken, objects, notes } = readText(
    [
      bad,
      'a: [',
      bad,
      'x: y',
      policy('spec: {x: 1}'),
      'apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n',
    ].join('\n---\n'),
  );
  expect(broken.map(({ position, kind, name }) => `${position.line} ${kind} ${name}`.trim())).toEqual([
    '3 v1/Pod default/A',
    '8',
    '11 v1/Pod default/A',
    '15',
    '22 security.istio.io/v1/PeerAuthentication',
  ]);
  expect([objects.length, notes.length]).toEqual([1, 1]);
});

describe('the log of notes', () => {
  const note = (line: number, severity: FileNote['severity']): FileNote => ({
    ...{
      severity,
      position: { line, column: 1 },
      kind: 'security.istio.io/v1/AuthorizationPolicy',
      name: 'a/b',
      path: [],
      why: 'x is wrong',
      file: 'a.yaml',
    },
  });

  it('has each of them once as long as it stands there, with its place', () => {
    const { log, lines } = captureLog();
    const report = createNotesLog(log);
    report([note(1, 'warning'), note(2, 'problem')]);
    report([note(1, 'warning'), note(2, 'problem')]);
    report([note(2, 'problem')]);
    report([note(1, 'warning'), note(2, 'problem')]);
    expect(lines.map(({ level, problem, warning }) => [level, problem ?? warning])).toEqual([
      ['error', 'a.yaml:2:1: AuthorizationPolicy a/b: x is wrong'],
      ['warn', 'a.yaml:1:1: AuthorizationPolicy a/b: x is wrong'],
      ['warn', 'a.yaml:1:1: AuthorizationPolicy a/b: x is wrong'],
    ]);
  });

  it('has the first ones only, problems before warnings, and how many there are besides', () => {
    const { log, lines } = captureLog();
    const warnings = Array.from({ length: maxNotesLogged }, (_, line) => note(line + 1, 'warning'));
    createNotesLog(log)([...warnings, note(900, 'problem')]);
    expect(lines).toHaveLength(maxNotesLogged + 1);
    expect(lines[0]).toMatchObject({ problem: expect.stringContaining('a.yaml:900:1') });
    expect(lines.at(-1)).toMatchObject({ level: 'warn', others: 1 });
  });
});
