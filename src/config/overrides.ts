import type { Environment } from './variables.ts';

/** Variables that add or replace trust anchors, switch verification off, or write the keys of sessions to a file. */
const variables = [
  'NODE_TLS_REJECT_UNAUTHORIZED',
  'NODE_EXTRA_CA_CERTS',
  'SSL_CERT_FILE',
  'SSL_CERT_DIR',
  'SSLKEYLOGFILE',
  'OPENSSL_CONF',
] as const;

/** Flags of Node.js with the same effects, or that let a debugger or a file have the private key. */
const flag =
  /^--(?:inspect|debug|tls|trace-tls|openssl|use-openssl-ca|use-system-ca|use-bundled-ca|heapsnapshot|heap-prof)/;

const expected = 'expected no flag that changes TLS, opens a debugger or writes memory to a file';

/**
 * One sentence for each thing outside of the settings that would weaken TLS or expose the key. An empty variable counts
 * as absent, because that is how a container unsets one.
 */
export function overrideProblems(env: Environment, nodeFlags: readonly string[]): string[] {
  const set = variables.filter((variable) => (env[variable] ?? '') !== '');
  const options = (env.NODE_OPTIONS ?? '').split(/[\s"]+/);
  return [
    ...set.map(
      (variable) => `${variable} is set in the environment, expected it to be absent: it changes whom TLS trusts`,
    ),
    ...dangerous(options).map((name) => `NODE_OPTIONS contains ${name}, ${expected}`),
    ...dangerous(nodeFlags).map((name) => `Node.js was started with ${name}, ${expected}`),
  ];
}

/** The names alone: a value such as the path of a key log tells nothing more. Node.js reads `_` as `-`. */
function dangerous(flags: readonly string[]): string[] {
  return flags.map((text) => text.split('=', 1).join('').replaceAll('_', '-')).filter((name) => flag.test(name));
}
