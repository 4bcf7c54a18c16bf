import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';

/*
 * The real program between two pipes, as `kubectl get -o yaml | remora inject | kubectl apply -f -` runs it: what comes
 * out, what is said beside it, and the exit code that the shell sees.
 */

const root = resolve(import.meta.dirname, '../../..');
const required = ['--image=registry.example.com/remora:0.1.0', '--mesh-networks=10.0.0.0/8,fd00::/8'];
const pod = 'apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n  - name: web\n';

function start(args: readonly string[]) {
  const child = spawn(join(root, 'node_modules/.bin/node'), [join(root, 'src/main.ts'), 'inject', ...args], {
    env: { PATH: process.env.PATH ?? '' },
  });
  // A program that refuses its flags does not read.
  child.stdin.on('error', () => undefined);
  return child;
}

async function inject(input: string | Uint8Array, args: readonly string[] = required) {
  const child = start(args);
  child.stdin.end(input);
  const ended = once(child, 'close');
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  const [code] = await ended;
  return { stdout, stderr, code };
}

const temporary = (name: string, content: string) => {
  const path = join(mkdtempSync(join(tmpdir(), 'remora-inject-')), name);
  writeFileSync(path, content);
  return path;
};

it('adds the sidecar to YAML and says nothing', async () => {
  const { stdout, stderr, code } = await inject(pod);
  expect({ stderr, code }).toEqual({ stderr: '', code: 0 });
  expect(stdout.startsWith(pod.slice(0, pod.indexOf('{')))).toBe(true);
  const names = parse(stdout).spec.initContainers.map(({ name }: { name: string }) => name);
  expect(names).toEqual(['remora-init', 'remora']);
});

it('W4: what went through it once goes through it again byte for byte, as skipped', async () => {
  const { stdout } = await inject(pod);
  const again = await inject(stdout);
  expect(again).toEqual({
    stdout,
    code: 0,
    stderr: expect.stringMatching(/^remora: Pod default\/web: skipped: .+\n$/),
  });
});

it('makes JSON of JSON', async () => {
  const { stdout, code } = await inject(`${JSON.stringify(parse(pod), null, 4)}\n`);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^\{\n {4}"apiVersion": "v1",\n/);
  expect(JSON.parse(stdout).spec.initContainers).toHaveLength(2);
});

it('passes on what has no pods, and says so', async () => {
  const service = 'kind: Service # ours\napiVersion: v1';
  expect(await inject(service)).toEqual({
    stdout: service,
    stderr: 'remora: The input has no pods, nothing was changed\n',
    code: 0,
  });
});

describe('what is refused', () => {
  it('W5: keeps everything back when one pod of many is refused, and names each problem', async () => {
    const taken = pod.replace('- name: web', '- name: remora');
    const { stdout, stderr, code } = await inject(`${pod}---\n${taken}`, [...required, '--namespace', 'shop']);
    expect({ stdout, code }).toEqual({ stdout: '', code: 1 });
    expect(stderr).toMatch(/^remora: Pod shop\/web: .*remora.*\n$/);
  });

  it('W9: a capture annotation that cannot be read is refused with the name of its object', async () => {
    const annotated = pod.replace(
      '{name: web}',
      '{name: web, annotations: {traffic.sidecar.istio.io/includeOutboundPorts: "15001-15000"}}',
    );
    const { stdout, stderr, code } = await inject(annotated);
    expect({ stdout, code }).toEqual({ stdout: '', code: 1 });
    expect(stderr).toMatch(/^remora: Pod default\/web: .*includeOutboundPorts is '15001-15000', expected .+\n$/);
  });

  it.each([
    ['nothing', '', /^remora: The input is empty, expected Kubernetes YAML or JSON\n$/],
    ['broken YAML', `${pod}---\na: [\n`, /^remora: Document 2, line \d+, column \d+: Flow sequence .+\n$/],
    ['bytes that are no UTF-8', Uint8Array.of(0xff), /^remora: Document 1, line 1, column 1: .+UTF-8\n$/],
    ['more than 16 MiB', '#'.repeat(16 * 1024 * 1024 + 1), /^remora: The input has more than 16777216 bytes .+\n$/],
  ])('keeps everything back for %s', async (_, input, said) => {
    expect(await inject(input)).toEqual({ stdout: '', stderr: expect.stringMatching(said), code: 1 });
  });

  it.each([
    ['a flag that does not exist', ['--imag=x'], 2, /^remora: unknown option '--imag=x'/],
    [
      'a flag that is given twice',
      [...required, '--image=x'],
      2,
      /^remora: --image is given 2 times, expected once\n$/,
    ],
    [
      'a namespace that is none',
      [...required, '--namespace=A'],
      2,
      /^remora: --namespace=A is not a name, expected .+\n$/,
    ],
    [
      'a file that is named',
      ['-f', 'web.yaml'],
      2,
      /'-f'; objects come by standard input: remora inject < web.yaml\n$/,
    ],
    ['settings that are missing', [], 78, /^remora: image is missing, .+\nremora: meshNetworks is empty, .+\n$/],
    ['a file that is not there', ['--settings=/nowhere'], 78, /^remora: \/nowhere cannot be read \(ENOENT\), .+\n$/],
    [
      'a value of the wrong kind',
      [...required, '--cpu-limit=much'],
      78,
      /^remora: cpuLimit=much from --cpu-limit is not .+\n$/,
    ],
  ])('%s', async (_, args, exitCode, said) => {
    expect(await inject(pod, args)).toEqual({ stdout: '', stderr: expect.stringMatching(said), code: exitCode });
  });
});

it('takes settings from a file, which flags override', async () => {
  const file = temporary('settings.yaml', 'image: a:1\nmeshNetworks: [10.0.0.0/8]\nmemoryLimit: 512Mi\n');
  const { stdout, stderr } = await inject(pod, ['--settings', file, '--image=b:2']);
  expect(stderr).toBe('');
  const sidecar = parse(stdout).spec.initContainers[1];
  expect(sidecar).toMatchObject({ image: 'b:2', resources: { limits: { memory: '512Mi' } } });
});

it('explains every setting with its default', async () => {
  const { stdout, code } = await inject('', ['--help']);
  expect(code).toBe(0);
  expect(stdout).toMatch(/--sidecar-mode <native\|classic>[^-]+\(default: native\)/);
  expect(stdout).toMatch(/--exclusion-namespaces <namespace,…> /);
});

it('ends without a stack trace when nobody reads its output', async () => {
  const child = start(required);
  child.stdout.destroy();
  child.stdin.end(pod);
  const ended = once(child, 'close');
  const stderr = await text(child.stderr);
  expect((await ended)[0]).toBe(1);
  expect(stderr).not.toMatch(/\n\s+at |internal error/);
});

it('says on a terminal that it waits for input', async () => {
  // script(1) gives the program a terminal; its end of input is what Ctrl-D sends.
  const program = `${join(root, 'node_modules/.bin/node')} ${join(root, 'src/main.ts')} inject ${required.join(' ')}`;
  const child = spawn('script', ['-qec', program, '/dev/null'], { env: { PATH: process.env.PATH ?? '' } });
  let said = '';
  child.stdout.on('data', (chunk: Buffer) => {
    said += chunk.toString();
    if (said.includes('standard input')) child.stdin.end('\u0004');
  });
  await once(child, 'close');
  expect(said).toContain('remora: reading Kubernetes YAML from standard input, which ends with Ctrl-D');
  expect(said).toContain('The input is empty');
});
