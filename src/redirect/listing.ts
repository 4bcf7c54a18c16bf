import { hashIn, tableName } from './ruleset.ts';

/** What is installed in a network namespace, as far as it matters to us. */
export interface Installed {
  /** Our table; undefined when there is none. */
  readonly own: OwnTable | undefined;
  /** Rules of other tables that redirect connections, each as `table ip nat, chain OUTPUT: …`. */
  readonly otherRedirects: readonly string[];
}

export interface OwnTable {
  /** Undefined when the table is not one that we made. */
  readonly hash: string | undefined;
  /** Comment of every rule, in order: somebody may have removed a rule and left the table's comment. */
  readonly comments: readonly string[];
  /** nft's own listing of the table, which it can read again. */
  readonly listing: string;
}

/** How nft writes a rule that takes connections to a local port; quotes are names, not syntax. */
const redirecting = /\b(?:redirect|tproxy)\b/;
/** The same of iptables, where nft cannot translate it. */
const redirectingTarget = /xt target "(?:REDIRECT|TPROXY)"|# xt_(?:REDIRECT|TPROXY)/;

/** Reads the output of `nft list ruleset`. */
export function readListing(text: string): Installed {
  const tables = text.split(/^(?=table )/m).filter((part) => part.startsWith('table '));
  const own = tables.find((listing) => listing.startsWith(`table ${tableName} {`));
  const others = tables.filter((listing) => listing !== own);
  return { own: own === undefined ? undefined : readOwn(own), otherRedirects: others.flatMap(redirectsIn) };
}

function readOwn(listing: string): OwnTable {
  const tableComment = /^\tcomment "([^"]*)"$/m.exec(listing)?.[1] ?? '';
  const comments = [...listing.matchAll(/^\t\t.* comment "([^"]*)"$/gm)].map(([, comment = '']) => comment);
  return { hash: hashIn(tableComment), comments, listing };
}

function redirectsIn(listing: string): string[] {
  const title = /^(table \S+ \S+)/.exec(listing)?.[1] ?? 'table';
  const chains = [...listing.matchAll(/^\tchain (\S+) \{\n(.*?)^\t\}$/gms)];
  return chains.flatMap(([, chain, body = '']) => {
    const redirects = body
      .split('\n')
      .filter((rule) => redirecting.test(unquoted(rule)) || redirectingTarget.test(rule));
    return redirects.map((rule) => `${title}, chain ${chain}: ${rule.trim()}`);
  });
}

function unquoted(rule: string): string {
  return rule.replaceAll(/"[^"]*"/g, '""');
}
