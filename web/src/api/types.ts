// The shapes of the control API, by their short names. They are generated
// from the server's OpenAPI document (npm run generate); nothing is retyped
// here. 64-bit integers are strings.

import type { components } from './schema';

type Schemas = components['schemas'];

export type AuditChain = Schemas['AuditChain'];
export type AuditPage = Schemas['AuditPage'];
export type AuditRow = Schemas['AuditRow'];
export type Capability = Schemas['Capability'];
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

export type Accepted = Schemas['OperationStarted'];
export type AdoptPreview = Schemas['AdoptPreview'];
export type AdoptRequest = Schemas['AdoptRequest'];
export type Alert = Schemas['Alert'];
export type AuditVerification = Schemas['AuditVerification'];
export type Availability = Schemas['Availability'];
export type Backup = Schemas['Backup'];
export type BackupSummary = Schemas['BackupOverview'];
export type BackupTarget = Schemas['BackupTarget'];
export type ClusterBackups = Schemas['ClusterBackups'];
export type ClusterSettings = Schemas['Settings'];
export type ControlHealth = Schemas['ControlState'];
export type CreateClusterAccepted = Schemas['CreateAccepted'];
export type CreateClusterRequest = Schemas['CreateRequest'];
export type Credentials = Schemas['CredentialsAnswer'];
export type Delivery = Schemas['Delivery'];
export type EmailSettings = Schemas['EmailSettings'];
export type Endpoint = Schemas['Endpoint'];
export type EngineOffer = Schemas['EngineOffer'];
export type EngineUser = Schemas['DatabaseUser'];
export type FailoverState = Schemas['FailoverView'];
export type History = Schemas['History'];
export type HistorySeries = Schemas['Series'];
export type HostEntry = Schemas['Host'];
export type Incident = Schemas['Incident'];
export type Invitation = Schemas['Invitation'];
export type JoinToken = Schemas['ControlToken'];
export type Lease = Schemas['LeaseView'];
export type LostWrites = Schemas['LostWrites'];
export type Notifications = Schemas['NotificationSettings'];
export type Parameter = Schemas['ParameterView'];
export type Policy = Schemas['PolicyView'];
export type PolicyRequest = Schemas['PolicyRequest'];
export type RestoreAccepted = Schemas['RestoreAccepted'];
export type Tags = Schemas['NodeTags'];
export type Person = Schemas['Person'];
export type Token = Schemas['Token'];
export type TokenCreated = Schemas['TokenCreated'];
export type Waiting = Schemas['Waiting'];
export type WhatIf = Schemas['WhatIf'];

export type BackupState = Backup['state'];
export type AlertState = Alert['state'];
export type LeaseState = Lease['state'];
export type AuditOutcome = AuditRow['outcome'];
export type CheckVerdict = Check['verdict'];
export type Engine = ClusterSummary['engine'];
export type NodeLevel = Schemas['NodeStatus']['level'];
export type OperationState = Operation['state'];
export type Role = ClusterNode['role'];
export type StepState = OperationStep['state'];
export type UserRole = Session['role'];
export type VerdictLevel = Schemas['Verdict']['level'];
