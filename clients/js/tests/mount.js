// Components for the scenarios of React, without a browser.

import { StrictMode, createElement, useEffect } from 'react';
import { create } from 'react-test-renderer';
import { useSeat } from '../src/react.js';

globalThis.IS_REACT_ACT_ENVIRONMENT = false;
console.error = () => {}; // It says that it is deprecated.
const roots = {};

export function mount(name, client, pool, options, say) {
	let told = false;
	function Worker() {
		const { state, seat } = useSeat(client, pool, options);
		useEffect(() => {
			if (state !== 'held' || told) return;
			told = true;
			say({ seat: name, result: 'held', id: seat.id, fence: seat.fence, sure: seat.sure });
		}, [state]);
		return state;
	}
	roots[name] = create(createElement(StrictMode, null, createElement(Worker)), { unstable_isConcurrent: true });
}

export const unmount = (name) => roots[name].unmount();
