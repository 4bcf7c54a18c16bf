import { createPublicKey } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { TokenKeyFile } from '../../../src/control-plane/token-key-file.ts';
import { openTokenKeyFile, tokenKeyPollIntervalMs } from '../../../src/control-plane/token-key-file.ts';
import { tokenKeyLimits, tokenKeysOf } from '../../../src/control-plane/token-keys.ts';
import type { CapturedLog } from '../../support/captured-log.ts';
import { captureLog } from '../../support/captured-log.ts';
import { ecKey } from '../../support/certificates.ts';
import type { FakeClock } from '../../support/fake-clock.ts';
import { createFakeClock } from '../../support/fake-clock.ts';

/* The file of a ConfigMap, as the kubelet replaces it: a folder of each content, and a link that is renamed. */

let directory: string;
let path: string;
let clock: FakeClock;
let captured: CapturedLog;
let file: TokenKeyFile | undefined;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'remora-token-keys-'));
  path = join(directory, 'jwks.json');
  symlinkSync('..data/jwks.json', path);
  clock = createFakeClock();
  captured = captureLog();
});
afterEach(() => {
  file?.close();
  file = undefined;
  rmSync(directory, { recursive: true });
});

const keySet = (...kids: readonly string[]) =>
  JSON.stringify(tokenKeysOf(Object.fromEntries(kids.map((kid) => [kid, createPublicKey(ecKey())]))).jwks);
let contents = 0;
/** One rename, after which every path leads to the new content. */
function replace(text: string): void {
  contents += 1;
  const name = `..${contents}`;
  mkdirSync(join(directory, name));
  writeFileSync(join(directory, name, 'jwks.json'), text);
  symlinkSync(name, join(directory, '..data_tmp'));
  renameSync(join(directory, '..data_tmp'), join(directory, '..data'));
}
const open = async () => {
  file = await openTokenKeyFile({ clock, log: captured.log }, path);
  return file;
};
const kids = () => file?.current().jwks.keys.map(({ kid }) => kid);
/** Until the look that begins now is over: the next one is set. */
async function poll(): Promise<void> {
  await clock.advance(tokenKeyPollIntervalMs);
  while (clock.pending === 0) await new Promise(setImmediate);
}

it('takes the keys of a changed file, without a restart', async () => {
  replace(keySet('one'));
  await open();
  expect(kids()).toEqual(['one']);
  replace(keySet('one', 'two'));
  await poll();
  expect(kids()).toEqual(['one', 'two']);
  expect(captured.lines).toMatchObject([{ msg: 'Token keys read', keyIds: ['one', 'two'] }]);
  await poll();
  expect(captured.lines).toHaveLength(1);
});

it.each(['', '{"keys":[]}', '{"keys":[{"kty":"oct","kid":"x","k":"AAAA"}]}', 'x'.repeat(tokenKeyLimits.bytes + 1)])(
  'keeps its keys while the file holds others that are bad, and says so once: %.30j',
  async (bad) => {
    replace(keySet('one'));
    await open();
    replace(bad);
    await poll();
    await poll();
    expect(kids()).toEqual(['one']);
    expect(captured.lines).toMatchObject([
      { level: 'error', msg: 'The token keys cannot be read, those in use stay', why: expect.stringContaining(path) },
    ]);
    replace(keySet('two'));
    await poll();
    expect(kids()).toEqual(['two']);
  },
);

it('keeps its keys while the file is gone', async () => {
  replace(keySet('one'));
  await open();
  rmSync(path);
  await poll();
  expect(kids()).toEqual(['one']);
  expect(captured.text()).toContain('ENOENT');
});

it('is looked at no more when it is closed', async () => {
  replace(keySet('one'));
  (await open()).close();
  expect(clock.pending).toBe(0);
});

it('is refused from the beginning with every problem', async () => {
  replace('{"keys":[{"kty":"oct"},{"kty":"RSA","kid":"a"}]}');
  await expect(open()).rejects.toMatchObject({
    exitCode: 78,
    problems: [
      expect.stringContaining(`${path}: Key 1 cannot be used: `),
      `${path}: Key 2 cannot be used: it is not an RSA key`,
    ],
  });
});

it('is refused when it is missing, or everybody can write it', async () => {
  await expect(open()).rejects.toThrow(`${path} cannot be read (ENOENT), expected the JWK set of the cluster`);
  replace(keySet('one'));
  chmodSync(path, 0o646);
  await expect(open()).rejects.toThrow(`${path} can be written by everybody (mode 0646)`);
});
