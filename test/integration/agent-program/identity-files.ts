import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import type { TestAuthority } from '../../support/identities.ts';
import { createTestAuthority } from '../../support/identities.ts';

/** Who issues the identities of a test, unless it says otherwise. */
export const authority = createTestAuthority('cluster.local', { intermediates: 1 });
export const idOf = (name: string) => `spiffe://cluster.local/ns/shop/sa/${name}`;

let directory: string;
let folders = 0;

/** Gives the tests of a file a folder that is removed behind them. */
export function useFolder(): void {
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'remora-agent-'));
  });
  afterAll(() => rmSync(directory, { recursive: true }));
}

/** A path in that folder that nobody else has. */
export const newPath = (name: string): string => join(directory, `${folders++}-${name}`);

export function writeText(name: string, text: string): string {
  const path = newPath(name);
  writeFileSync(path, text);
  return path;
}

export interface IdentityFiles extends Readonly<Record<string, string>> {
  readonly certificateFile: string;
  readonly keyFile: string;
  readonly bundleFile: string;
}

/**
 * Puts a new certificate of `name` in place of the one before, in one step and as the kubelet does it: the files are
 * symlinks into `..data`, which is a symlink that is replaced.
 */
export function writeIdentity(
  name: string,
  { volume = newPath(name), by = authority }: { readonly volume?: string; readonly by?: TestAuthority } = {},
): IdentityFiles {
  const { key, chainPem } = by.issue({ id: `ns/shop/sa/${name}` });
  const version = newPath('version');
  mkdirSync(version);
  writeFileSync(join(version, 'tls.crt'), chainPem);
  writeFileSync(join(version, 'tls.key'), key.export({ type: 'pkcs8', format: 'pem' }));
  writeFileSync(join(version, 'ca.crt'), by.bundlePem);
  mkdirSync(volume, { recursive: true });
  symlinkSync(version, join(volume, '..data_tmp'));
  renameSync(join(volume, '..data_tmp'), join(volume, '..data'));
  for (const file of ['tls.crt', 'tls.key', 'ca.crt'])
    if (!existsSync(join(volume, file))) symlinkSync(join('..data', file), join(volume, file));
  return {
    certificateFile: join(volume, 'tls.crt'),
    keyFile: join(volume, 'tls.key'),
    bundleFile: join(volume, 'ca.crt'),
  };
}
