// Shapes of routes that are newer than schema.ts. Each moves to types.ts, as
// an alias of the generated one, when the server's document holds it. Counts,
// bytes and milliseconds are numbers; positions and generations are strings;
// times are RFC 3339.

export interface Accepted { operationId: string }

export interface EngineVersion { version: string; hosts: string[] | null }
export interface EngineOffer { engine: string; versions: EngineVersion[] | null }

export interface NewNode { name: string; agent: string; port?: number; priority?: number }
export interface CreateClusterRequest {
  name: string; engine: string; version?: string; nodes: NewNode[]; memoryBytes: number;
  durability: 'async' | 'sync'; allowCidrs: string[]; deletionProtection: boolean;
}
export interface Credentials { user: string; password: string }
export interface CreateClusterAccepted extends Accepted { credentials: Credentials | null }

export interface AdoptRequest { name: string; primary: string; agent: string; user?: string; password?: string }
export interface AdoptPreview {
  nodes: { address: string; role: string; version: string; lagBytes: number | string | null }[] | null;
  refusals: { code: string; title: string; detail: string; fix: string }[] | null;
}

export interface Policy {
  durability: 'async' | 'sync'; syncReplicas: number; failover: 'off' | 'no-loss' | 'bounded-loss';
  maxLossBytes: number; maxLossAgeSeconds: number; leaseTtlMs: number; coolDownSeconds: number;
  mode: 'strict' | 'failsafe' | 'auto'; restartFirst: boolean; approval: boolean; deletionProtection: boolean;
  allowCidrs: string[] | null; backupSchedule: string; backupKeep: number; backupTarget: string; drillSchedule: string;
  maintenanceUntil?: string | null;
}
export interface ClusterSettings {
  policy: Policy; consequences: string[] | null; ifPrimaryDies: string; ifNodeDies: { node: string; sentence: string }[] | null;
}
export interface Tags { priority: number; noFailover: boolean; never: boolean; noSync: boolean; noBackup: boolean; expires?: string | null; maintenance?: string | null }
export interface Parameter { name: string; value: string; default: string; needsRestart: boolean; pending: boolean; description: string }
export interface EngineUser { name: string; acl: string; enabled: boolean }

export type LeaseState = 'held' | 'at-risk' | 'expired' | 'released' | 'none';
export interface Lease { holder: string; generation: string; state: LeaseState; expiresInMs: number; ttlMs: number; mode: string }
export interface FailoverState { mode: string; suspendedUntil: string | null; coolDownUntil: string | null; blocked: string | null }
export interface WhatIf { sentence: string; next: string; lossBound: string; steps: (string | { title: string })[] | null }
export interface LostWrites { node: string; generation: string; at: string; bytes: number; path: string; commands: number; sentence: string }

export type BackupState = 'running' | 'done' | 'failed' | 'verified' | 'expired';
export interface Backup {
  id: string; at: string; node: string; kind: string; bytes: number; keys: number; sha256: string; encrypted: boolean; state: BackupState;
  verifiedAt: string | null; verifiedHow: string; restoreMs: number | null; operationId: string; target: string;
}
export interface Drill { at: string; ok: boolean; ms: number; sentence: string }
export interface ClusterBackups {
  window: { earliest: string | null; latest: string | null } | null; schedule: string; keep: number; target: string; backups: Backup[] | null; lastDrill: Drill | null;
}
export interface BackupSummary { cluster: string; newest: string | null; verified: string | null; count: number; bytes: number }
export interface BackupTarget { name: string; kind: 'directory' | 's3'; location: string; healthy: boolean; why: string }

export interface Endpoint {
  readWrite: string; readOnly: string; state: 'forwarding' | 'holding' | 'closed'; clients: number; heldNow: number;
  generation: string; target: string; lastSwitchMs: number | null; enabled?: boolean;
}

export interface ControlNode { name: string; address: string; role: 'leader' | 'follower' | 'unknown'; up: boolean; term: number | string; lag: number | string; self: boolean }
export interface ControlHealth { nodes: ControlNode[] | null; leader: string; term: number | string; quorum: { needed: number; alive: number }; sentence: string }

/** What a host's entry has beyond the generated one. */
export interface HostMore {
  id?: string; arch?: string; load1?: number; disk?: { free: number | string; total: number | string } | null; version?: string; connected?: boolean;
  instances?: { cluster: string; node: string; role: string }[] | null; supervision?: string;
}
export interface JoinToken { token: string; command: string; expiresAt: string }
export interface SshInstall { address: string; port: number; user: string; key?: string; password?: string; hostKey?: string; name?: string; location?: string }

export type AlertState = 'firing' | 'acknowledged' | 'resolved';
export interface Alert {
  id: string; cluster: string; node: string; kind: string; severity: 'warning' | 'critical'; state: AlertState; since: string; lastSeen: string;
  sentence: string; fix: string; acknowledgedBy: string | null; acknowledgedUntil: string | null; note: string; resolvedAt: string | null;
}
export interface Delivery { at: string; channel: string; subject: string; tries: number; ok: boolean; error: string }
export interface EmailSettings { host: string; port: number; from: string; to: string[] | null; user?: string; password?: string; hasPassword?: boolean; tls?: 'starttls' | 'implicit' | 'none' }
export interface WebhookSettings { url: string; secret?: string; hasSecret?: boolean }
export interface Notifications { email: EmailSettings | null; webhooks: WebhookSettings[] | null; allowPrivate?: boolean; problem?: string; deliveries?: Delivery[] | null }
export interface AuditVerification { records: number; ok: boolean; firstBad: { cluster: string; index: number; id: string; why: string } | null; sentence: string; chains?: number }
export interface Incident { title: string; entries: { at: string; kind: string; sentence: string; operationId?: string | null }[] | null }

export type Metric = 'stall' | 'lag' | 'writes' | 'memory';
export interface HistorySeries { node: string; points: number[][] | null }
export interface History { metric: string; unit: string; step: number; series: HistorySeries[] | null; stalls?: { count: number; medianMs: number; maxMs: number } }
export interface Availability { days: number; percent: number | null; knownSeconds: number; downSeconds: number; stallSeconds: number; sentence: string }

export interface Person { name: string; role: string; disabled: boolean; invited?: boolean; pending?: boolean; createdAt: string; lastSeen: string | null; you?: boolean }
export interface PersonCreated { setupLink: string; expiresAt: string }
export interface Token { id: string; name: string; owner: string; role: string; createdAt: string; lastSeen: string | null; expiresAt: string; expired: boolean }

/** A promotion that waits for its time or for a second person. */
export interface Waiting {
  id: string; cluster: string; node: string; state: 'awaiting-approval' | 'scheduled' | 'starting' | 'started' | 'refused' | 'cancelled'; requester: string; reason: string;
  askedAt: string; at: string | null; expiresAt: string | null; approver: string; why: string; operationId: string | null; mayApprove: boolean;
}
