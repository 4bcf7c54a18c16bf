import { largeAnswer, smallAnswer } from './backend.ts';
import type { Job, JobResult } from './load/job.ts';
import { percentile } from './statistics.ts';

/** One figure of a measurement. */
export interface Metric {
  readonly name: string;
  readonly unit: string;
  from(result: JobResult): number;
}

type Load<J> = J extends Job ? Omit<J, 'port' | 'pids' | 'measureMs' | 'warmUpMs'> : never;

export interface Measurement {
  readonly name: string;
  readonly load: Load<Job>;
  readonly metrics: readonly Metric[];
}

const perMillion = 1e6;
const mebibyte = 1024 * 1024;

/** What the run consists of, in its order. CPU is user and system time of both proxies. */
export const measurements: readonly Measurement[] = [
  {
    name: 'requests',
    load: { kind: 'keep-alive', connections: 64, ...smallAnswer },
    metrics: [
      {
        name: 'CPU per small request',
        unit: 'µs',
        from: ({ cpuSeconds, requests }) => (cpuSeconds * perMillion) / requests,
      },
      { name: 'small requests', unit: '/s', from: ({ requests, seconds }) => requests / seconds },
    ],
  },
  {
    name: 'connections',
    load: { kind: 'connect', connections: 16, ...smallAnswer },
    metrics: [
      { name: 'new connections', unit: '/s', from: ({ requests, seconds }) => requests / seconds },
      {
        name: 'CPU per new connection',
        unit: 'µs',
        from: ({ cpuSeconds, requests }) => (cpuSeconds * perMillion) / requests,
      },
    ],
  },
  {
    name: 'transfers',
    load: { kind: 'keep-alive', connections: 1, ...largeAnswer },
    metrics: [
      {
        name: 'CPU per byte',
        unit: 'µs/MiB',
        from: ({ cpuSeconds, bytes }) => (cpuSeconds * perMillion) / (bytes / mebibyte),
      },
      { name: 'throughput', unit: 'MiB/s', from: ({ bytes, seconds }) => bytes / mebibyte / seconds },
    ],
  },
  {
    name: 'latency',
    load: { kind: 'fixed-rate', connections: 16, ratePerSecond: 1000, ...smallAnswer },
    metrics: [
      {
        name: 'CPU per request at 1000/s',
        unit: 'µs',
        from: ({ cpuSeconds, requests }) => (cpuSeconds * perMillion) / requests,
      },
      { name: 'latency, median', unit: 'ms', from: ({ latenciesMs }) => percentile(latenciesMs, 50) },
      { name: 'latency, 99 %', unit: 'ms', from: ({ latenciesMs }) => percentile(latenciesMs, 99) },
    ],
  },
];
