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

const privateKeyOrToken = /-----BEGIN [A-Z ]*PRIVATE KEY-----|^\s*eyJ[\w-]+\.[\w-]+\.[\w-]+\s*$/;

/** Whether a text is a private key or a token by its looks: it was given in the place of the name of its file. */
export const isSecret = (text: string): boolean => privateKeyOrToken.test(text);

/** A value as a problem shows it: on one line, without control characters, not too long, and nothing that is secret. */
export function shown(text: string): string {
  if (isSecret(text)) return 'a private key or token';
  const printable = text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\uFFFD');
  return printable.length > longestShown ? `${printable.slice(0, longestShown)}…` : printable;
}
