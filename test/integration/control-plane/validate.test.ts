import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { afterEach, describe, expect, it } from 'vitest';
import { run } from '../../../src/control-plane/validate/command.ts';
import { UsageError } from '../../../src/errors.ts';
import type { Host } from '../../../src/host.ts';

const root = resolve(import.meta.dirname, '../../..');
const golden = join(root, 'test/golden/policy');
const folders: string[] = [];
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true });
});

async function folderWith(files: Readonly<Record<string, string>>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'remora-validate-'));
  folders.push(folder);
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content);
  return folder;
}

/** What the command prints, with the folders of its arguments left out. */
async function validate(args: readonly string[], stdin = '') {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const host = { args, stdin: Readable.from([Buffer.from(stdin)]), stdout, stderr } as unknown as Host;
  const code = await run(host);
  stdout.end();
  stderr.end();
  const without = (output: string) =>
    [...folders, `${golden}/broken`].reduce((all, one) => all.replaceAll(`${one}/`, ''), output);
  return { code, out: without(await text(stdout)), summary: await text(stderr) };
}

const sound = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: api, namespace: shop}
spec:
  rules:
  - from:
    - source: {namespaces: [web]}
`;
const withWarning = sound.replace('namespaces', 'requestPrincipals');
const withProblem = sound.replace('namespaces', 'namespace');

describe('remora validate', () => {
  it('G2: names every mistake in a folder of broken policies, with its place and what was meant', async () => {
    const { code, out, summary } = await validate([join(golden, 'broken')]);
    await expect(out).toMatchFileSnapshot(join(golden, 'broken.txt'));
    expect({ code, summary }).toEqual({ code: 1, summary: '39 problems and 16 warnings in 16 objects of 8 files\n' });
  });

  it('accepts what is sound, a warning included', async () => {
    const folder = await folderWith({
      'a.yaml': withWarning,
      'b.json': '{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop"}}',
    });
    expect(await validate([folder])).toEqual({
      code: 0,
      out: 'a.yaml:7:35: AuthorizationPolicy shop/api: spec.rules[0].from[0].source.requestPrincipals is of HTTP, so that its rule of ALLOW never matches on TCP (warning)\n',
      summary: '0 problems and 1 warning in 2 objects of 2 files\n',
    });
    expect(await validate([join(folder, 'b.json')])).toEqual({
      code: 0,
      out: '',
      summary: '0 problems and 0 warnings in 1 object of 1 file\n',
    });
  });

  it('reads standard input, and a file that is named twice once', async () => {
    const folder = await folderWith({ 'a.policy': sound.replace('name: api', 'name: other') });
    const path = join(folder, 'a.policy');
    const { code, out, summary } = await validate(['-', path, path, '-'], withProblem);
    expect(out).toBe(
      '<stdin>:7:16: AuthorizationPolicy shop/api: spec.rules[0].from[0].source.namespace is not known, did you mean namespaces?\n',
    );
    expect({ code, summary }).toEqual({ code: 1, summary: '1 problem and 0 warnings in 2 objects of 2 files\n' });
  });

  it('tells a machine the same with --json', async () => {
    const { code, out, summary } = await validate(['--json', '-'], withProblem);
    expect({ code, summary, out: JSON.parse(out) }).toEqual({
      code: 1,
      summary: '',
      out: {
        ...{ files: 1, objects: 1, problems: 1, warnings: 0 },
        notes: [
          {
            ...{ severity: 'problem', file: '<stdin>', line: 7, column: 16 },
            ...{ kind: 'security.istio.io/v1/AuthorizationPolicy', name: 'shop/api' },
            path: 'spec.rules[0].from[0].source.namespace',
            why: 'spec.rules[0].from[0].source.namespace is not known, did you mean namespaces?',
          },
        ],
      },
    });
  });

  it('warns of PeerAuthentications that are not in force beside the others, or in the root namespace', async () => {
    const peer = (name: string, rest = '') =>
      `apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: ${name}}\nspec:\n  mtls: {mode: STRICT}\n${rest}`;
    const folder = await folderWith({
      'a.yaml': peer('default, namespace: demo, creationTimestamp: "2024-01-01T00:00:00Z"'),
      'b.yaml': peer('a-strict, namespace: demo, creationTimestamp: "2025-01-01T00:00:00Z"'),
      'c.yaml': peer('api, namespace: mesh-root', '  selector: {matchLabels: {app: api}}\n'),
    });
    const behind = 'b.yaml:1:1: PeerAuthentication demo/a-strict: is not in force: demo/default is older (warning)\n';
    expect(await validate([folder])).toMatchObject({ code: 0, out: behind });
    expect(await validate([folder, '--root-namespace', 'mesh-root'])).toMatchObject({
      code: 0,
      out: `${behind}c.yaml:1:1: PeerAuthentication mesh-root/api: is not in force: in the root namespace mesh-root one with a selector counts for nobody (warning)\n`,
      summary: '0 problems and 2 warnings in 3 objects of 3 files\n',
    });
    await expect(validate([folder, '--root-namespace', 'A.b'])).rejects.toThrow(
      "--root-namespace is 'A.b', expected the name of a namespace such as istio-system",
    );
  });

  it('warns of principals of trust domains that the mesh does not know', async () => {
    const rules = '[{from: [{source: {principals: [cluster.local/ns/a/sa/b, example.org/ns/a/sa/b, example.net/*]}}]}]';
    const policy =
      'apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: api, namespace: shop}';
    const folder = await folderWith({ 'a.yaml': `# Above.\n${policy}\nspec: {rules: ${rules}}\n` });
    const names = (principal: string, domains: string) =>
      `a.yaml:2:1: AuthorizationPolicy shop/api: has the principal ${principal}, which nobody of ${domains} has (warning)\n`;
    expect(await validate([folder])).toMatchObject({
      code: 0,
      out: names('"example.org/ns/a/sa/b" (and 1 more)', 'cluster.local'),
    });
    const own = ['--trust-domain', 'example.org'];
    expect((await validate([...own, folder])).out).toBe(names('"example.net/*"', 'example.org'));
    expect((await validate([...own, '--trust-domain', 'example.net', folder])).out).toBe('');
    await expect(validate([folder, '--trust-domain', 'A'])).rejects.toThrow(
      "--trust-domain is 'A', expected a trust domain such as cluster.local",
    );
  });

  it('names each folder in a folder, into which neither it nor the control plane looks', async () => {
    const folder = await folderWith({ 'a.yaml': sound });
    for (const name of ['team-b', 'team-a.yaml', '..data']) await mkdir(join(folder, name));
    await writeFile(join(folder, 'team-b/broken.yaml'), 'a: [');
    const why = 'is a folder, which is not looked into: name it as well (warning)';
    expect(await validate([folder])).toEqual({
      code: 0,
      out: `team-a.yaml:1:1: ${why}\nteam-b:1:1: ${why}\n`,
      summary: '0 problems and 2 warnings in 1 object of 1 file\n',
    });
    expect(await validate([folder, join(folder, 'team-b')])).toMatchObject({ code: 1 });
  });

  it('finds an object that stands in two files', async () => {
    const folder = await folderWith({
      'a.yaml': sound,
      'b.yaml': `# the same\n---\n${sound.replace('v1', 'v1beta1')}`,
    });
    const { code, out } = await validate([folder]);
    expect({ code, out }).toEqual({
      code: 1,
      out: 'b.yaml:3:1: security.istio.io/v1/AuthorizationPolicy shop/api is already in a.yaml\n',
    });
  });

  it('G1: goes on behind a file that cannot be read, is too large, or is no text', async () => {
    const folder = await folderWith({
      'a.yaml': withProblem,
      'large.yaml': '',
      'latin.yaml': 'kind: \xff',
      'empty.yaml': '',
    });
    await truncate(join(folder, 'large.yaml'), 1024 * 1024 + 1);
    await writeFile(join(folder, 'latin.yaml'), Buffer.from([0xff, 0xfe]));
    const { code, out } = await validate([join(folder, 'none.yaml'), folder]);
    expect(code).toBe(1);
    expect(out.split('\n')).toEqual([
      "none.yaml:1:1: cannot be read: ENOENT: no such file or directory, stat 'none.yaml'",
      'large.yaml:1:1: 1048577 bytes are more than 1048576',
      expect.stringMatching(/^a\.yaml:7:16: AuthorizationPolicy shop\/api: /),
      'empty.yaml:1:1: the file is empty',
      'latin.yaml:1:1: The encoded data was not valid for encoding utf-8',
      '',
    ]);
  });

  it('does not pass over a folder without a file of objects, or over something that is no file', async () => {
    const folder = await folderWith({ 'notes.txt': 'x' });
    expect(await validate([folder])).toMatchObject({
      code: 1,
      out: `${folder}:1:1: is no file, expected *.yaml, *.yml or *.json in it\n`,
    });
    expect(await validate(['/dev/null'])).toMatchObject({ code: 1, out: '/dev/null:1:1: is no file, expected one\n' });
  });

  it('needs something to look at', async () => {
    await expect(validate([])).rejects.toThrow(UsageError);
    await expect(validate(['--jsn', 'x'])).rejects.toThrow(UsageError);
  });

  it('is a command of the program, and exits with what it found', async () => {
    const child = spawn(process.execPath, [join(root, 'src/main.ts'), 'validate', '-'], {
      env: { PATH: process.env.PATH },
    });
    child.stdin.end(withProblem);
    const [out, code] = await Promise.all([text(child.stdout), new Promise((done) => child.on('close', done))]);
    expect({ out, code }).toEqual({ out: expect.stringContaining('<stdin>:7:16'), code: 1 });
  });
});
