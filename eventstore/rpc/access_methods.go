package rpc

import "strings"

// need is what a caller must have to call a method. The zero value is an administrator's, so that a method without an entry is nobody else's.
type need uint8

const (
	needAdmin   need = iota
	needOps          // $admins or $ops
	needUser         // somebody known
	needGossip       // somebody known, or anybody if gossip is open
	needStats        // somebody known, or anybody if statistics are open
	byHandler        // the handler checks: streams by their lists, users by who is meant
	needNothing      // anybody: clients ask before they have credentials
)

// services that clients know, by the first part of a method's path.
const (
	streamsPrefix    = "/event_store.client.streams.Streams/"
	streamsV2Prefix  = "/kurrentdb.protocol.v2.streams.StreamsService/"
	persistentPrefix = "/event_store.client.persistent_subscriptions.PersistentSubscriptions/"
	projectionPrefix = "/event_store.client.projections.Projections/"
	operationsPrefix = "/event_store.client.operations.Operations/"
	usersPrefix      = "/event_store.client.users.Users/"
)

// methodNeeds says for each method what it needs. A test fails for a registered method that is not in it.
var methodNeeds = map[string]need{
	streamsPrefix + "Read":            byHandler,
	streamsPrefix + "Append":          byHandler,
	streamsPrefix + "BatchAppend":     byHandler,
	streamsPrefix + "Delete":          byHandler,
	streamsPrefix + "Tombstone":       byHandler,
	streamsV2Prefix + "AppendSession": byHandler,
	streamsV2Prefix + "AppendRecords": byHandler,

	persistentPrefix + "Create":           needOps,
	persistentPrefix + "Update":           needOps,
	persistentPrefix + "Delete":           needOps,
	persistentPrefix + "ReplayParked":     needOps,
	persistentPrefix + "TruncateParked":   needOps,
	persistentPrefix + "RestartSubsystem": needOps,
	persistentPrefix + "Read":             needUser, // and the right to read the stream
	persistentPrefix + "GetInfo":          needUser,
	persistentPrefix + "List":             needUser,

	projectionPrefix + "Create":           needUser,
	projectionPrefix + "Update":           needUser,
	projectionPrefix + "Enable":           needUser,
	projectionPrefix + "Disable":          needUser,
	projectionPrefix + "Reset":            needUser,
	projectionPrefix + "State":            needUser,
	projectionPrefix + "Result":           needUser,
	projectionPrefix + "Statistics":       needUser,
	projectionPrefix + "Delete":           needOps,
	projectionPrefix + "RestartSubsystem": needOps,

	operationsPrefix + "StartScavenge":                  needOps,
	operationsPrefix + "StopScavenge":                   needOps,
	operationsPrefix + "Shutdown":                       needOps,
	operationsPrefix + "MergeIndexes":                   needOps,
	operationsPrefix + "ResignNode":                     needOps,
	operationsPrefix + "SetNodePriority":                needOps,
	operationsPrefix + "RestartPersistentSubscriptions": needOps,

	usersPrefix + "Create":         needAdmin,
	usersPrefix + "Update":         needAdmin,
	usersPrefix + "Delete":         needAdmin,
	usersPrefix + "Enable":         needAdmin,
	usersPrefix + "Disable":        needAdmin,
	usersPrefix + "ResetPassword":  needAdmin,
	usersPrefix + "Details":        byHandler,
	usersPrefix + "ChangePassword": byHandler,

	"/event_store.client.redaction.Redaction/GetEventPositions": needOps,
	"/event_store.client.redaction.Redaction/SwitchChunks":      needOps,
	"/kurrent.client.redaction.Redaction/GetEventPositions":     needOps,
	"/kurrent.client.redaction.Redaction/SwitchChunks":          needOps,

	"/event_store.client.gossip.Gossip/Read":                                 needGossip,
	"/event_store.client.monitoring.Monitoring/Stats":                        needStats,
	"/event_store.client.server_features.ServerFeatures/GetSupportedMethods": needNothing,
}

// reflectionPrefix begins the methods of gRPC reflection, of any version.
const reflectionPrefix = "/grpc.reflection."

func needOf(method string) need {
	if n, ok := methodNeeds[method]; ok {
		return n
	}
	if strings.HasPrefix(method, reflectionPrefix) {
		return needUser
	}
	return needAdmin
}

func (n need) met(a *Access, c *Caller) bool {
	switch n {
	case needAdmin:
		return c.IsAdmin()
	case needOps:
		return c.MayOperate()
	case needUser:
		return !c.Anonymous()
	case needGossip:
		return a.MayReadGossip(*c)
	case needStats:
		return a.MayReadStats(*c)
	case byHandler, needNothing:
		return true
	}
	return false
}
