/** Where a value came from. */
export type Origin =
  | { readonly kind: 'flag'; readonly flag: string }
  | { readonly kind: 'variable'; readonly variable: string }
  | { readonly kind: 'file'; readonly path: string; readonly line: number }
  | { readonly kind: 'default' };

/** The texts that one place gives for one setting. */
export interface Given<Name extends string = string> {
  readonly name: Name;
  readonly texts: readonly string[];
  readonly origin: Origin;
}

/** What one place gives altogether, and everything that is wrong with it, one sentence each. */
export interface GivenSet<Name extends string = string> {
  readonly given: readonly Given<Name>[];
  readonly problems: readonly string[];
}

/** `--drain-deadline`, `REMORA_DRAIN_DEADLINE`, `/etc/remora.yaml line 3` or `the default`. */
export function describeOrigin(origin: Origin): string {
  switch (origin.kind) {
    case 'flag':
      return origin.flag;
    case 'variable':
      return origin.variable;
    case 'file':
      return `${origin.path} line ${origin.line}`;
    case 'default':
      return 'the default';
    default:
      return origin satisfies never;
  }
}

const longestShown = 120;

/** A value as a problem shows it: on one line, without control characters, not too long. */
export function shown(text: string): string {
  const printable = text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\uFFFD');
  return printable.length > longestShown ? `${printable.slice(0, longestShown)}…` : printable;
}
