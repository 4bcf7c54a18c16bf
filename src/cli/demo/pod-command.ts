/** A folder that a process of a pod sees at another path; nobody else does. */
export interface Mount {
  readonly source: string;
  /** Must exist. */
  readonly target: string;
}

/** What a process of a pod may do; without a uid it is root with every capability, as the maker of the pod is. */
export interface PodPrivileges {
  readonly uid?: number;
  /** Default: the same number as the uid. */
  readonly gid?: number;
  /** Supplementary groups, default none. */
  readonly groups?: readonly number[];
  /** The only capabilities that it can ever have, such as `net_admin`; default none beside a uid, all without one. */
  readonly capabilities?: readonly string[];
  readonly mounts?: readonly Mount[];
}

/**
 * The command line that runs `argv` in a network namespace. Each step replaces the one before, so that the process that
 * is started is the program itself, and it ends with its parent: nothing survives a demo or a test that was killed.
 */
export function podCommand(
  namespace: string,
  argv: readonly string[],
  privileges: PodPrivileges = {},
): [string, ...string[]] {
  const { mounts = [] } = privileges;
  return [
    'ip',
    'netns',
    'exec',
    namespace,
    ...mountCommand(mounts),
    'setpriv',
    ...setprivFlags(privileges),
    '--',
    ...argv,
  ];
}

/** `ip netns exec` gives the process a mount namespace of its own, so these mounts end with it. */
function mountCommand(mounts: readonly Mount[]): string[] {
  if (mounts.length === 0) return [];
  const commands = mounts.map((_, i) => `mount --rbind "\${${2 * i + 1}}" "\${${2 * i + 2}}" && `).join('');
  const script = `${commands}shift ${2 * mounts.length} && exec "$@"`;
  return ['sh', '-c', script, 'sh', ...mounts.flatMap(({ source, target }) => [source, target])];
}

function setprivFlags({ uid, gid = uid, groups = [], capabilities }: PodPrivileges): string[] {
  const flags = ['--pdeathsig=KILL'];
  if (uid !== undefined || capabilities !== undefined) {
    const kept = (capabilities ?? []).map((capability) => `,+${capability}`).join('');
    flags.push('--no-new-privs', '--inh-caps=-all', `--bounding-set=-all${kept}`);
  }
  if (uid !== undefined) flags.push(`--reuid=${uid}`, `--regid=${gid}`);
  if (groups.length > 0) flags.push(`--groups=${groups.join(',')}`);
  else if (uid !== undefined) flags.push('--clear-groups');
  return flags;
}
