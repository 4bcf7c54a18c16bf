/** The label of a metric that says whose it is, and that no sidecar knows: the scrape configuration adds it. */
export const scrapeLabels = ['job', 'instance', 'namespace', 'workload', 'pod'] as const;

/** Names of the two jobs of manifests/prometheus/scrape.yaml. */
export const jobs = { sidecars: 'remora-sidecars', controlPlane: 'remora-control-plane' } as const;

/** Whose a series is, to the pod; the order in which alerts and legends name them. */
export const whose = 'namespace, workload, pod';
