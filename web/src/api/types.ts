// The shapes of the control API, by their short names. They are generated
// from the server's OpenAPI document (npm run generate); nothing is retyped
// here. 64-bit integers are strings.

import type { components } from './schema';

type Schemas = components['schemas'];

export type AuditChain = Schemas['AuditChain'];
export type AuditPage = Schemas['AuditPage'];
export type AuditRow = Schemas['AuditRow'];
export type Check = Schemas['Check'];
export type ClusterDetail = Schemas['ClusterDetail'];
export type ClusterList = Schemas['ClusterList'];
export type ClusterNode = Schemas['Node'];
export type ClusterSummary = Schemas['ClusterSummary'];
export type HostList = Schemas['HostList'];
export type Link = Schemas['Link'];
export type LoginRequest = Schemas['LoginRequest'];
export type Operation = Schemas['Operation'];
export type OperationStep = Schemas['Step'];
export type Plan = Schemas['Plan'];
export type PlanRequest = Schemas['PlanRequest'];
export type PlanStep = Schemas['PlanStep'];
export type Problem = Schemas['Problem'];
export type PromotionAccepted = Schemas['PromotionAccepted'];
export type PromotionRequest = Schemas['PromotionRequest'];
export type Refusal = Schemas['Refusal'];
export type Report = Schemas['Report'];
export type Session = Schemas['Session'];
export type SetupRequest = Schemas['SetupRequest'];
export type SetupState = Schemas['SetupState'];
export type UndoRequest = Schemas['UndoRequest'];

export type AuditOutcome = AuditRow['outcome'];
export type CheckVerdict = Check['verdict'];
export type Engine = ClusterSummary['engine'];
export type NodeLevel = Schemas['NodeStatus']['level'];
export type OperationState = Operation['state'];
export type Role = ClusterNode['role'];
export type StepState = OperationStep['state'];
export type UserRole = Session['role'];
export type VerdictLevel = Schemas['Verdict']['level'];
