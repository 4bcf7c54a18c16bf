import { describe, expect, it } from 'vitest';
import { connectionLine } from '../../src/admin-api.ts';
import { agentTable } from '../../src/config/table.ts';
import type { Words } from '../../src/outcomes.ts';
import {
  applicationScrapeFailures,
  closedReasons,
  deniedReasons,
  handshakeReasons,
  renewalReasons,
} from '../../src/outcomes.ts';

const lists: Readonly<Record<string, Readonly<Record<string, Words>>>> = {
  application: applicationScrapeFailures,
  closed: closedReasons,
  denied: deniedReasons,
  handshake: handshakeReasons,
  renewal: renewalReasons,
};
const entries = Object.entries(lists).flatMap(([list, words]) =>
  Object.entries(words).map(([reason, { happened, remedy }]) => ({ list, reason, happened, remedy })),
);

/** Subcommands that a remedy may send a person to. */
const commands = ['status', 'certs', 'connections', 'handshakes', 'explain', 'mesh', 'control-plane revoke'];

describe.each(entries)('the words of $list $reason', ({ happened, remedy }) => {
  it('are one sentence of what happened and one of what to do, each fit for a field', () => {
    for (const sentence of [happened, remedy]) {
      expect(sentence).toMatch(/^(?:[A-Z]|`)/);
      expect(sentence).not.toMatch(/[.!?]$|\.\s|\s\s|\n/);
      expect(sentence).not.toMatch(/[^\x20-\x7e]/);
    }
    expect(happened.length).toBeGreaterThan(10);
    expect(remedy.length).toBeGreaterThan(10);
    expect(happened).not.toContain('`');
  });

  it('name only commands, fields and settings that exist', () => {
    for (const [, command = ''] of remedy.matchAll(/`remora ([^`]*)`/g))
      expect(commands.filter((known) => command === known || command.startsWith(`${known} `))).not.toEqual([]);
    for (const [, name = ''] of remedy.matchAll(/`([a-z]+(?:[A-Z][a-z]+)*)`/g))
      expect([...Object.keys(connectionLine.entries)]).toContain(name);
    for (const [name] of remedy.replaceAll(/`[^`]*`|\S*[./]\S*/g, '').matchAll(/\b[a-z]+(?:[A-Z][a-z]+)+\b/g))
      expect([...Object.keys(agentTable), 'serverAuth', 'clientAuth', 'digitalSignature', 'keyCertSign']).toContain(
        name,
      );
  });
});
