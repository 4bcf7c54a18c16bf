import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseAllDocuments, stringify } from 'yaml';
import type { RenderedName } from '../../support/manifests.ts';
import { manifests, rendered, renderedText } from '../../support/manifests.ts';

/*
 * Golden files hold what kustomize makes of manifests/, so that every machine can look at the objects. Where kubectl is,
 * they are made anew and compared (`-u` writes them); elsewhere a digest tells whether they were made from these files.
 */

const folders = ['base', 'components', 'install', 'demo-kubernetes'];
/** What an operator puts into manifests/install. */
const operatorFiles: Readonly<Record<string, string>> = {
  'authority/root.pem': 'the root of the mesh\n',
  'authority/root-key.pem': 'the key of the root\n',
  'authority/token-key.pem': 'the key of the tokens\n',
  'token-keys.json': '{"keys":[]}\n',
};

const hasKubectl = kustomizeMajor() >= 5;

function kustomizeMajor(): number {
  try {
    const text = execFileSync('kubectl', ['version', '--client', '-o', 'json'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const { kustomizeVersion } = JSON.parse(text.toString());
    return Number(/^v(\d+)\./.exec(kustomizeVersion)?.[1] ?? 0);
  } catch {
    return 0;
  }
}

let copy: string;
beforeEach(() => {
  copy = mkdtempSync(join(tmpdir(), 'remora-manifests-'));
  for (const path of sources()) cpSync(join(manifests, path), join(copy, path), { recursive: true });
  mkdirSync(join(copy, 'install/authority'));
  for (const [path, text] of Object.entries(operatorFiles)) writeFileSync(join(copy, 'install', path), text);
});
afterEach(() => rmSync(copy, { recursive: true }));

/** Without what an operator has put there. */
function sources(): string[] {
  return globSync(
    folders.map((folder) => `${folder}/**/*.*`),
    { cwd: manifests },
  )
    .filter((path) => !/^install\/(?:authority\/|token-keys\.json$)/.test(path))
    .sort();
}

function digest(): string {
  const hash = createHash('sha256');
  for (const path of sources()) hash.update(JSON.stringify([path, readFileSync(join(manifests, path), 'utf8')]));
  return hash.digest('hex');
}

/** Parsed and printed again, because each version of kubectl prints a little differently. */
function kustomize(name: RenderedName): string {
  const folder = join(copy, name === 'demo-kubernetes' ? name : 'install');
  const text = execFileSync('kubectl', ['kustomize', folder]).toString();
  const objects = parseAllDocuments(text).map((document) => document.toJS());
  const wanted =
    name === 'istio-label' ? objects.filter(({ kind }) => kind === 'MutatingWebhookConfiguration') : objects;
  const documents = wanted.map((object) => stringify(object, { lineWidth: 0, aliasDuplicateObjects: false }));
  return `# Made by kustomize from files with the digest ${digest()}\n${documents.join('---\n')}`;
}

function switchOnComponent(): void {
  const path = join(copy, 'install/kustomization.yaml');
  const text = readFileSync(path, 'utf8');
  const switched = text.replace('# components:\n#   - ', 'components:\n  - ');
  expect(switched).not.toBe(text);
  writeFileSync(path, switched);
}

describe('The golden file of the rendered manifests', () => {
  it.each<RenderedName>(['install', 'istio-label', 'demo-kubernetes'])('%s is made from these files', async (name) => {
    if (name === 'istio-label') switchOnComponent();
    if (hasKubectl) await expect(kustomize(name)).toMatchFileSnapshot(join(rendered, `${name}.yaml`));
    else expect(renderedText(name).split('\n', 1)[0], 'run this test with -u where kubectl is').toContain(digest());
  });
});
