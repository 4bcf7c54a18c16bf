import { describe, expect, test } from 'vitest';
import { wholePod } from '../../../src/annotations.ts';
import { FailureError } from '../../../src/errors.ts';
import { sidecarPorts } from '../../../src/ports.ts';
import { applyRedirect } from '../../../src/redirect/apply.ts';
import type { Nft } from '../../../src/redirect/nft.ts';
import type { RedirectSettings } from '../../../src/redirect/rules.ts';
import { redirectTable } from '../../../src/redirect/rules.ts';
import { renderRuleset } from '../../../src/redirect/ruleset.ts';
import { createFakeClock } from '../../support/fake-clock.ts';

const settings: RedirectSettings = { ports: sidecarPorts, uid: 1337, gid: 1337, scope: wholePod };
const withoutProof = { isProofWanted: false, areOtherRedirectsAccepted: false };
const other =
  'table ip nat {\n\tchain OUTPUT {\n\t\ttype nat hook output priority -100; policy accept;\n\t\tmeta l4proto tcp redirect to :15001\n\t}\n}\n';

/** The rules of a machine that exists only here: what is loaded is kept as it was written. */
function fakeNft(
  listing: string,
  refuse: (text: string) => Error | undefined = () => undefined,
): Nft & { readonly loaded: string[] } {
  const loaded: string[] = [];
  return {
    loaded,
    listRuleset: async () => listing,
    async load(text) {
      const refusal = refuse(text);
      if (refusal !== undefined) throw refusal;
      loaded.push(text);
    },
  };
}

/** No tool of the system is found: the rules alone are looked at. */
const toolsWith = (nft: Nft) => ({ nft, env: { PATH: '/nonexistent' }, clock: createFakeClock(0) });

/** What nft lists once the text was loaded. */
const listed = (text: string) =>
  text.slice(text.indexOf('table inet remora {')).replaceAll(' counter ', ' counter packets 0 bytes 0 ');

describe('applying the rules', () => {
  test('loads them in one transaction', async () => {
    const nft = fakeNft('');
    const { outcome, hash } = await applyRedirect(settings, withoutProof, toolsWith(nft));
    const expected = renderRuleset(redirectTable(settings));
    expect({ outcome, hash }).toEqual({ outcome: 'applied', hash: expected.hash });
    expect(nft.loaded).toEqual([expected.text]);
  });

  test('loads nothing when they are in place', async () => {
    const nft = fakeNft(listed(renderRuleset(redirectTable(settings)).text));
    expect(await applyRedirect(settings, withoutProof, toolsWith(nft))).toMatchObject({ outcome: 'unchanged' });
    expect(nft.loaded).toEqual([]);
  });

  test('replaces those of other settings', async () => {
    const nft = fakeNft(listed(renderRuleset(redirectTable({ ...settings, uid: 5 })).text));
    expect(await applyRedirect(settings, withoutProof, toolsWith(nft))).toMatchObject({ outcome: 'replaced' });
    expect(nft.loaded).toHaveLength(1);
  });

  test('refuses beside redirects of others before it changes anything, unless they are accepted', async () => {
    const nft = fakeNft(other);
    await expect(applyRedirect(settings, withoutProof, toolsWith(nft))).rejects.toThrow(
      'table ip nat, chain OUTPUT: meta l4proto tcp redirect to :15001',
    );
    expect(nft.loaded).toEqual([]);
    await applyRedirect(settings, { ...withoutProof, areOtherRedirectsAccepted: true }, toolsWith(nft));
    expect(nft.loaded).toHaveLength(1);
  });

  test('passes on why nft refused, and loads nothing else', async () => {
    const nft = fakeNft('', () => new FailureError('no'));
    await expect(applyRedirect(settings, withoutProof, toolsWith(nft))).rejects.toThrow(/^no$/);
    expect(nft.loaded).toEqual([]);
  });
});
