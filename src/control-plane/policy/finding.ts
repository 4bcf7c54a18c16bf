/** Where something is in an object: names of fields, and places in lists. */
export type Path = readonly (string | number)[];

/** What is wrong with an object, or worth knowing: a problem makes it fail closed, a warning does not. */
export interface Finding {
  readonly severity: 'problem' | 'warning';
  readonly path: Path;
  /** It is about the name of a field and not about its value. */
  readonly isOfKey?: boolean | undefined;
  /** One sentence that begins with the path. */
  readonly why: string;
}

/** An object as it is understood, and what was found on the way. */
export interface Read<T> {
  readonly object: T;
  readonly findings: readonly Finding[];
}

export function problem(path: Path, predicate: string): Finding {
  return { severity: 'problem', path, why: `${pathText(path)} ${predicate}` };
}

export function warning(path: Path, predicate: string): Finding {
  return { severity: 'warning', path, why: `${pathText(path)} ${predicate}` };
}

const longestPath = 300;

/** `spec.rules[0].from[1].source`. */
export function pathText(path: Path): string {
  const text = path
    .map((key) => {
      if (typeof key === 'number') return `[${key}]`;
      return /^[A-Za-z_][-\w]*$/.test(key) ? `.${key}` : `[${JSON.stringify(clipped(key))}]`;
    })
    .join('');
  return clipped(text.replace(/^\./, '') || 'the object', longestPath);
}

/** A value for people, on one line and never long. */
export function shown(value: unknown): string {
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
  if (typeof value === 'object' && value !== null) return 'an object';
  if (value === undefined) return 'missing';
  return clipped(typeof value === 'string' ? JSON.stringify(value) : String(value));
}

function clipped(text: string, longest = 80): string {
  return text.length > longest ? `${text.slice(0, longest)}…` : text;
}

/** What an object says of itself when it cannot be followed: its first problem, and how many there are besides. */
export function problemOf(findings: readonly Finding[]): string | undefined {
  const [first, ...others] = findings.filter(({ severity }) => severity === 'problem');
  if (first === undefined) return undefined;
  return others.length === 0 ? first.why : `${first.why} (and ${others.length} more)`;
}
