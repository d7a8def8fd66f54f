// Components for the scenario and the tests of React, without a browser.

import { StrictMode, createElement, useEffect } from 'react';
import { renderToString } from 'react-dom/server';
import { create } from 'react-test-renderer';
import { useSeat } from '../src/react.js';

const { error } = console;
console.error = (text, ...more) => /react-test-renderer is deprecated/.test(text) || error(text, ...more);
const roots = {};

/** Shows a component that uses the seat. `told` is called with each view of it. */
export function mount(name, client, pool, options, told) {
	function Worker() {
		const view = useSeat(client, pool, options);
		useEffect(() => void told(view), [view]);
		return view.state;
	}
	roots[name] = create(createElement(StrictMode, null, createElement(Worker)), { unstable_isConcurrent: true });
}

export const unmount = (name) => roots[name].unmount();

/** What a server renders of it. */
export function rendered(client, pool) {
	const Worker = () => useSeat(client, pool).state;
	return renderToString(createElement(Worker));
}
