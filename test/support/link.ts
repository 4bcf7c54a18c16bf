import type { RunningProgram, TestPod } from './pods.ts';

/** What a link does to packets, each way; percentages are of packets. Without any it is a clean link. */
export interface Faults {
  readonly delayMs?: number;
  /** At most so much more or less delay; packets overtake each other by it. */
  readonly jitterMs?: number;
  readonly lossPercent?: number;
  /** Packets that are not delayed, and so overtake those that are. */
  readonly reorderPercent?: number;
  readonly duplicatePercent?: number;
  /** Packets of which one bit is wrong. */
  readonly corruptPercent?: number;
  readonly rateMbit?: number;
}

/** The only way between the addresses of two pods, on a device `link0` in each. */
export interface TestLink {
  /** Replaces all faults; resolves when they are in force. */
  set(faults: Faults): Promise<void>;
}

/** Enough for a TCP window on its way; a full queue would lose packets. */
const queuePackets = 10_000;

/**
 * Leads what two pods send each other over a link of its own: netem where the kernel has it, else a process between two
 * TUN devices, in which faults follow from the seed. Other pods are reached as before. It ends with the pods.
 */
export async function linkPods(one: TestPod, other: TestPod, seed = 1): Promise<TestLink> {
  const pods = [one, other];
  const isNetem = await hasNetem(one);
  const program = isNetem ? undefined : await startTunLink(one, other, seed);
  if (program === undefined)
    await one.sh(`ip link add link0 gso_max_segs 1 type veth peer name link0 gso_max_segs 1 netns ${other.namespace}`);
  await one.sh(routes(one, other));
  await other.sh(routes(other, one));
  let changes = 0;
  return {
    async set(faults) {
      for (const pod of pods) await pod.sh(isNetem ? netem(faults) : tokenBucket(faults));
      if (program === undefined) return;
      changes += 1;
      const answered = program.line((line) => line === String(changes));
      program.process.stdin?.write(`${changes} ${JSON.stringify(faults)}\n`);
      await answered;
    },
  };
}

/** The devices are made by the program that reads them, so that they go with it; one then moves to the other pod. */
async function startTunLink(one: TestPod, other: TestPod, seed: number): Promise<RunningProgram> {
  const script = 'test/support/pod-programs/tun-link.ts';
  const program = one.start(script, ['link0', 'link1', String(seed)], {});
  await program.line((line) => line === 'ready');
  await one.sh(`ip link set link1 netns ${other.namespace} name link0`);
  return program;
}

/** Reno, which every kernel has and allows here: the figures of a lossy link are not to be those of the machine's default. */
function routes(from: TestPod, to: TestPod): string {
  return `ip link set link0 up txqueuelen ${queuePackets}
ip route add ${to.v4} dev link0 src ${from.v4}
ip route add ${to.v6} dev link0 src ${from.v6}
echo reno > /proc/sys/net/ipv4/tcp_congestion_control`;
}

/** Whether the kernel has it: `tc` knows the word in any case. */
async function hasNetem(pod: TestPod): Promise<boolean> {
  const result = await pod.run(['sh', '-c', 'tc qdisc add dev lo root netem && tc qdisc del dev lo root']);
  return result.kind === 'ended' && result.status === 0;
}

/** The command that gives `link0` these faults in a kernel with netem. */
export function netem(faults: Faults): string {
  const {
    delayMs = 0,
    jitterMs = 0,
    lossPercent = 0,
    reorderPercent = 0,
    duplicatePercent = 0,
    corruptPercent = 0,
  } = faults;
  const words = ['tc qdisc replace dev link0 root netem', `limit ${queuePackets}`, `delay ${delayMs}ms ${jitterMs}ms`];
  if (reorderPercent > 0) words.push(`reorder ${reorderPercent}%`);
  words.push(`loss ${lossPercent}%`, `duplicate ${duplicatePercent}%`, `corrupt ${corruptPercent}%`);
  if (faults.rateMbit !== undefined) words.push(`rate ${faults.rateMbit}mbit`);
  return words.join(' ');
}

/** With a queue in which nothing is lost: a connection that has filled one that is too short would be measured as slow. */
function tokenBucket({ rateMbit }: Faults): string {
  if (rateMbit === undefined) return 'tc qdisc del dev link0 root 2>/dev/null || true';
  return `tc qdisc replace dev link0 root tbf rate ${rateMbit}mbit burst 32kb latency 1s`;
}
