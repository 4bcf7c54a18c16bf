import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { CaptureScope } from '../../../src/annotations.ts';
import { wholePod } from '../../../src/annotations.ts';
import { sidecarPorts } from '../../../src/ports.ts';
import type { RedirectSettings } from '../../../src/redirect/rules.ts';
import { redirectTable } from '../../../src/redirect/rules.ts';
import { hashIn, removalText, renderRuleset, restorationText } from '../../../src/redirect/ruleset.ts';

const settings: RedirectSettings = { ports: sidecarPorts, uid: 1337, gid: 1337, scope: wholePod };
const scoped = (scope: Partial<CaptureScope>): RedirectSettings => ({ ...settings, scope: { ...wholePod, ...scope } });
const port = (first: number, last = first) => ({ first, last });
const render = (given: RedirectSettings) => renderRuleset(redirectTable(given));

const variants: Record<string, RedirectSettings> = {
  'whole-pod': settings,
  'excluded-inbound-ports': scoped({ excludeInboundPorts: [port(22), port(9000, 9100)] }),
  'included-inbound-ports': scoped({ includeInboundPorts: [port(8080)], excludeInboundPorts: [port(22)] }),
  'no-inbound-ports': scoped({ includeInboundPorts: [] }),
  'excluded-outbound-ports': scoped({ excludeOutboundPorts: [port(5432), port(6000, 6010)] }),
  'excluded-outbound-ranges': scoped({ excludeOutboundIpRanges: ['10.0.0.0/8', '192.0.2.7', 'fd00::/8'] }),
  'excluded-outbound-ranges-ipv4': scoped({ excludeOutboundIpRanges: ['10.0.0.0/8'] }),
  'excluded-outbound-ranges-ipv6': scoped({ excludeOutboundIpRanges: ['fd00::/8', '2001:db8::5'] }),
  'included-outbound-ranges': scoped({
    includeOutboundIpRanges: ['10.0.0.0/8', 'fd00::/8'],
    excludeOutboundIpRanges: ['10.9.0.0/16'],
  }),
  'included-outbound-ports': scoped({ includeOutboundIpRanges: [], includeOutboundPorts: [port(80), port(443)] }),
  'no-outbound': scoped({ includeOutboundIpRanges: [] }),
  'own-ports-and-ids': {
    ...settings,
    uid: 2000,
    gid: 3000,
    ports: { outbound: 1, inbound: 2, hbone: 3, admin: 4, metrics: 5, health: 6 },
  },
};

describe('the rules', () => {
  test.each(Object.entries(variants))('%s is as the golden file has it', async (name, given) => {
    await expect(render(given).text).toMatchFileSnapshot(
      join(import.meta.dirname, `../../golden/redirect/${name}.nft`),
    );
  });

  test.each(Object.entries(variants))(
    '%s has a counter and a comment on each rule, and no comment twice in a chain',
    (_, given) => {
      const { text, comments } = render(given);
      const ruleLines = text.split('\n').filter((line) => /^\t\t(?!type|flags|auto-merge|elements)/.test(line));
      expect(ruleLines).toHaveLength(comments.length);
      for (const line of ruleLines)
        expect(line).toMatch(
          / counter (?:return|drop|accept|redirect to :\d+|reject with tcp reset) comment "[^"]{5,60}"$/,
        );
      for (const { rules } of redirectTable(given).chains)
        expect(new Set(rules.map(({ comment }) => comment)).size).toBe(rules.length);
    },
  );

  test.each(Object.entries(variants))(
    '%s has every set that it uses, uses every set that it has, and none is empty',
    (_, given) => {
      const { text } = render(given);
      const used = [...text.matchAll(/@(\w+)/g)].map(([, name]) => name);
      const declared = [...text.matchAll(/\tset (\w+) \{/g)].map(([, name]) => name);
      expect([...new Set(used)].sort()).toEqual([...declared].sort());
      expect(text).not.toMatch(/\{\s*\}/);
      expect(text.match(/flags interval\n\t\tauto-merge/g) ?? []).toHaveLength(declared.length);
    },
  );

  test.each(Object.entries(variants))(
    '%s exempts exactly the pair of uid and gid, behind the probes and before everything else',
    (_, given) => {
      const outbound = redirectTable(given).chains.find(({ name }) => name === 'outbound')?.rules ?? [];
      const exempt = outbound.findIndex(({ match }) => match === `meta skuid ${given.uid} meta skgid ${given.gid}`);
      expect(outbound.slice(1, exempt).every(({ comment }) => comment.includes('probe'))).toBe(true);
      expect(
        outbound
          .filter(({ match }) => match.includes('skuid'))
          .every(({ match }) => match.includes(`skuid ${given.uid} meta skgid ${given.gid}`)),
      ).toBe(true);
      expect(outbound.slice(exempt + 1).some(({ match }) => match.includes('skuid'))).toBe(false);
    },
  );
});

describe('the ruleset', () => {
  test('replaces the table in one file, whether or not it exists', () => {
    expect(render(settings).text).toMatch(/^add table inet remora\ndelete table inet remora\ntable inet remora \{\n/);
    expect(removalText).toBe('add table inet remora\ndelete table inet remora\n');
    expect(restorationText('table inet remora {\n}\n')).toBe(`${removalText}table inet remora {\n}\n`);
  });

  test('carries its own hash, which differs for every variant and is the same each time', () => {
    const hashes = Object.values(variants).map((given) => render(given).hash);
    expect(new Set(hashes).size).toBe(hashes.length);
    expect(Object.values(variants).map((given) => render(given).hash)).toEqual(hashes);
    const comment = /^\tcomment "(.*)"$/m.exec(render(settings).text)?.[1] ?? '';
    expect(hashIn(comment)).toBe(render(settings).hash);
    expect(hashIn('made by hand')).toBeUndefined();
  });

  test('has a table comment that the kernel takes, at most 128 bytes', () => {
    const comment = /^\tcomment "(.*)"$/m.exec(render(settings).text)?.[1] ?? '';
    expect(comment.length).toBeLessThan(128);
  });
});
