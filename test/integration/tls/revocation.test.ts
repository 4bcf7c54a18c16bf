import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { CrlFiles } from '../../../src/agent/crl-files.ts';
import { startCrlFiles } from '../../../src/agent/crl-files.ts';
import { systemClock } from '../../../src/clock.ts';
import { captureLog } from '../../support/captured-log.ts';
import type { CrlSpec } from '../../support/crls.ts';
import { makeCrl } from '../../support/crls.ts';
import { bundlesOf, createTestAuthority, createTestIdentity, spiffeId } from '../../support/identities.ts';
import type { Outcome, Role } from './handshake.ts';
import { federated, peerId, present, roles, verdict } from './handshake.ts';

/*
 * Goal: whoever a revocation list names is refused, in either role, and nobody else is.
 * Method: real lists in real files, judged by the roots of our identity; real handshakes with whoever they name.
 */

const mesh = createTestAuthority('cluster.local', { intermediates: 1 });
const local = createTestIdentity(mesh, {
  namespace: 'shop',
  serviceAccount: 'web',
  bundles: bundlesOf(mesh, federated),
});
const revoked = mesh.issue({ id: peerId.uri });
const renewed = mesh.issue({ id: peerId.uri });
const partner = federated.issue({ id: 'ns/shop/sa/peer' });
const partnerId = spiffeId('spiffe://partner.example/ns/shop/sa/peer');

let directory: string;
let crls: CrlFiles | undefined;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'remora-revocation-'));
  crls = undefined;
});
afterEach(async () => {
  await crls?.close();
  await rm(directory, { recursive: true });
});

/** Our side with these lists, each in a file of its own. */
async function withLists(specs: readonly CrlSpec[], staleCrl: 'accept' | 'refuse' = 'accept'): Promise<void> {
  const crlFiles = specs.map((_, index) => join(directory, `${index}.pem`));
  for (const [index, spec] of specs.entries()) await writeFile(crlFiles[index]!, makeCrl(spec).pem);
  await started(crlFiles, staleCrl);
}

async function started(crlFiles: readonly string[], staleCrl: 'accept' | 'refuse'): Promise<void> {
  const parts = { clock: systemClock, log: captureLog().log };
  crls = startCrlFiles(parts, { crlFiles, staleCrl, pollIntervalMs: 60_000 });
  await crls.read;
  crls.judgeBy(local);
}

const meet = (role: Role, credentials: typeof revoked, expectedId = peerId): Promise<Outcome> =>
  present(role, credentials, { local, expectedId, revocations: crls!.current() });

describe.each(roles)('a %s', (role) => {
  it('C28: is refused as revoked when its serial is on the list of its issuer, and accepted with another one', async () => {
    await withLists([{ issuer: mesh.issuer, revoked: [revoked.certificate] }]);
    expect(await meet(role, revoked)).toMatchObject({
      reason: 'revoked',
      message: expect.stringMatching(
        /^The (client|server) was refused: the certificate \S+ is on the revocation list of its issuer$/,
      ),
    });
    expect(verdict(await meet(role, renewed))).toBe('accepted');
  });

  it('C28: is refused as revoked when the authority that issued it is on the list of the root', async () => {
    await withLists([{ issuer: mesh.root, revoked: [mesh.issuer] }]);
    expect(verdict(await meet(role, revoked))).toBe('revoked');
    expect(verdict(await meet(role, partner, partnerId))).toBe('accepted');
  });

  it('C28: of another trust domain is refused by the lists of its own authorities, and ours are not', async () => {
    const { serial } = partner.certificate;
    await withLists([{ issuer: federated.root, revoked: [serial, revoked.certificate] }]);
    expect(verdict(await meet(role, partner, partnerId))).toBe('revoked');
    expect(verdict(await meet(role, revoked))).toBe('accepted');
  });

  it('C28: is not refused by a list that a stranger signed', async () => {
    const stranger = createTestAuthority('cluster.local');
    await withLists([{ issuer: mesh.issuer, signer: stranger.root, revoked: [revoked.certificate] }]);
    expect(verdict(await meet(role, revoked))).toBe('accepted');
  });

  const over = { thisUpdateMs: Date.now() - 7_200_000, nextUpdateMs: Date.now() - 3_600_000 };
  it('C29: is accepted while a list is missing or out of date, unless it is on it', async () => {
    await started([join(directory, 'missing.pem')], 'accept');
    expect(verdict(await meet(role, revoked))).toBe('accepted');
    await crls?.close();
    await withLists([{ issuer: mesh.issuer, revoked: [revoked.certificate], ...over }], 'accept');
    expect(verdict(await meet(role, renewed))).toBe('accepted');
    expect(verdict(await meet(role, revoked))).toBe('revoked');
  });

  it('C29: is refused as revoked while a list is missing or out of date, where the operator chose so', async () => {
    await started([join(directory, 'missing.pem')], 'refuse');
    expect(await meet(role, renewed)).toMatchObject({
      reason: 'revoked',
      message: expect.stringMatching(/it is not known who is revoked: \S+missing\.pem cannot be read \(ENOENT\)$/),
    });
    await crls?.close();
    await withLists([{ issuer: mesh.issuer, ...over }], 'refuse');
    expect(await meet(role, renewed)).toMatchObject({
      reason: 'revoked',
      message: expect.stringMatching(/a newer list was due at \d{4}-/),
    });
    await crls?.close();
    await withLists([{ issuer: mesh.issuer }], 'refuse');
    expect(verdict(await meet(role, renewed))).toBe('accepted');
  });
});
