import { createHash } from 'node:crypto';
import type { Chain, Rule, Table } from './rules.ts';
import type { IntervalSet } from './scope-sets.ts';

/** The table's family and name, as nft writes them. */
export const tableName = 'inet remora';

/** A table as one file for `nft -f`. */
export interface Ruleset {
  /**
   * Replaces the table whether or not it exists, in one transaction: with two runs of nft, one to delete and one to
   * add, packets leave between them uncaptured.
   */
  readonly text: string;
  /** SHA-256 of the rules, hexadecimal; also in the table's comment, so that a second run knows what is there. */
  readonly hash: string;
  /** Comment of every rule, in order. */
  readonly comments: readonly string[];
}

const hashPrefix = 'remora sha256:';

export function renderRuleset(table: Table): Ruleset {
  const body = [...table.sets.map(setText), ...table.chains.map(chainText)].join('\n');
  const hash = createHash('sha256').update(body).digest('hex');
  return {
    hash,
    comments: table.chains.flatMap(({ rules }) => rules.map(({ comment }) => comment)),
    text: `add table ${tableName}\ndelete table ${tableName}\ntable ${tableName} {\n\tcomment "${hashPrefix}${hash}"\n\n${body}}\n`,
  };
}

/** Removes the table whether or not it exists. */
export const removalText = `add table ${tableName}\ndelete table ${tableName}\n`;

/** Replaces the table by what `nft list table` said of it, counters included. */
export function restorationText(listing: string): string {
  return `${removalText}${listing}`;
}

/** The hash in a table's comment; undefined when the table was not made by `renderRuleset`. */
export function hashIn(tableComment: string): string | undefined {
  return tableComment.startsWith(hashPrefix) ? tableComment.slice(hashPrefix.length) : undefined;
}

function setText({ name, type, elements }: IntervalSet): string {
  return block(`set ${name}`, [
    `type ${type}`,
    'flags interval',
    'auto-merge',
    `elements = { ${elements.join(', ')} }`,
  ]);
}

function chainText({ name, type, hook, priority, rules }: Chain): string {
  return block(`chain ${name}`, [
    `type ${type} hook ${hook} priority ${priority}; policy accept;`,
    ...rules.map(ruleText),
  ]);
}

function ruleText({ match, verdict, comment }: Rule): string {
  return `${match} counter ${verdict} comment "${comment}"`;
}

function block(title: string, lines: readonly string[]): string {
  return [`\t${title} {`, ...lines.map((line) => `\t\t${line}`), '\t}\n'].join('\n');
}
