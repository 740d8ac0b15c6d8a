import type { components } from '../../api/schema';

type Schemas = components['schemas'];

export type Projection = Schemas['Projection'];
export type ProjectionDetail = Schemas['ProjectionDetail'];
export type ProjectionList = Schemas['ProjectionList'];
export type ProjectionState = Schemas['ProjectionState'];
export type StoreLogin = Schemas['StoreLogin'];
export type StoreUser = Schemas['StoreUser'];
export type StoreUserList = Schemas['StoreUserList'];
export type StoreUserSecret = Schemas['StoreUserSecret'];
export type Subscription = Schemas['Subscription'];
export type SubscriptionConsumer = Schemas['SubscriptionConsumer'];
export type SubscriptionDetail = Schemas['SubscriptionDetail'];
export type SubscriptionList = Schemas['SubscriptionList'];
export type SubscriptionSettings = Schemas['SubscriptionSettings'];
