// Shapes of routes that are newer than schema.ts. Each moves to types.ts, as
// an alias of the generated one, when the server's document holds it.

/** Installs the agent over SSH. */
export interface SshInstall { address: string; port: number; user: string; key?: string; password?: string; hostKey?: string; name?: string; location?: string }
