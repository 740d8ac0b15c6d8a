(function (longestPattern) {
  const g = globalThis;
  // What cannot be bounded, or has no use in a handler that ends before the next event.
  for (const name of ['eval', 'BigInt', 'Proxy', 'Promise', 'ArrayBuffer', 'SharedArrayBuffer', 'Atomics', 'DataView', 'Int8Array', 'Uint8Array',
    'Uint8ClampedArray', 'Int16Array', 'Uint16Array', 'Int32Array', 'Uint32Array', 'Float16Array', 'Float32Array', 'Float64Array', 'BigInt64Array',
    'BigUint64Array', 'WeakRef', 'FinalizationRegistry', 'escape', 'unescape']) delete g[name];
  for (const name of ['rawJSON', 'isRawJSON']) delete JSON[name];
  for (const f of [Array, Map, Set, RegExp]) delete f[Symbol.species];

  // Symbols by which a script could make built-in methods of arrays work on something else than arrays are left out.
  const Unnamed = Symbol;
  const Named = function Symbol(text) {
    if (new.target) throw new TypeError('Symbol is not a constructor');
    return Unnamed(text);
  };
  for (const name of ['iterator', 'hasInstance', 'match', 'matchAll', 'replace', 'search', 'split', 'toPrimitive', 'toStringTag', 'unscopables']) {
    Object.defineProperty(Named, name, { value: Unnamed[name], writable: false, enumerable: false, configurable: false });
  }
  Named.for = Unnamed.for;
  Named.keyFor = Unnamed.keyFor;
  Named.prototype = Unnamed.prototype;
  Object.defineProperty(Unnamed.prototype, 'constructor', { value: Named, writable: true, enumerable: false, configurable: true });
  Object.defineProperty(g, 'Symbol', { value: Named, writable: true, enumerable: false, configurable: true });

  // Functions out of text would not be looked at before they run.
  const refuse = function () { throw new TypeError('functions cannot be made out of text in a projection'); };
  for (const f of [function () {}, function* () {}]) {
    const p = Object.getPrototypeOf(f);
    Object.defineProperty(p, 'constructor', { value: refuse, writable: false, enumerable: false, configurable: false });
  }
  refuse.prototype = Function.prototype;
  Object.defineProperty(g, 'Function', { value: refuse, writable: true, enumerable: false, configurable: true });

  // A function bound over and over again calls itself in depth, and only calls of scripts are counted.
  const apply = Reflect.apply;
  Object.defineProperty(refuse.prototype, 'bind', {
    value: function bind(self, ...first) {
      const f = this;
      if (typeof f !== 'function') throw new TypeError('bind is called on something that is no function');
      return function (...rest) { return apply(f, self, first.concat(rest)); };
    }, writable: true, enumerable: false, configurable: true });

  // The length of a regular expression bounds the work of compiling it.
  const Native = RegExp;
  const Pattern = function RegExp(source, flags) {
    if (source !== undefined && !(source instanceof Native)) {
      source = String(source);
      if (source.length > longestPattern) throw new RangeError('a regular expression is longer than ' + longestPattern + ' characters');
    }
    if (flags !== undefined) flags = String(flags);
    return new Native(source, flags);
  };
  Pattern.prototype = Native.prototype;
  Object.defineProperty(Native.prototype, 'constructor', { value: Pattern, writable: true, enumerable: false, configurable: true });
  Object.defineProperty(g, 'RegExp', { value: Pattern, writable: true, enumerable: false, configurable: true });
})
