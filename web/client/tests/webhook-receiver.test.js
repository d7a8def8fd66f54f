// The example of a receiver believes what is signed, and nothing else.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { verify } from '../../../examples/webhook-receiver.mjs';

// The example of the Standard Webhooks specification.
const secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const body = '{"test": 2432232314}';
const at = 1614265330;
const headers = {
	'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
	'webhook-timestamp': String(at),
	'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
};

test('a message that is signed and fresh is believed', () => {
	assert.equal(verify([secret], headers, body, at + 299), true);
	assert.equal(verify(['whsec_AAAA', secret], headers, body, at), true);
	const two = { ...headers, 'webhook-signature': `v1,AAAA ${headers['webhook-signature']}` };
	assert.equal(verify([secret], two, body, at), true);
});

test('an old one, a changed one and one of others is not', () => {
	assert.equal(verify([secret], headers, body, at + 301), false);
	assert.equal(verify([secret], headers, body, at - 301), false);
	assert.equal(verify([secret], headers, `${body} `, at), false);
	assert.equal(verify(['whsec_AAAA'], headers, body, at), false);
	assert.equal(verify([], headers, body, at), false);
	for (const name of Object.keys(headers)) {
		assert.equal(verify([secret], { ...headers, [name]: undefined }, body, at), false, name);
	}
	assert.equal(verify([secret], { ...headers, 'webhook-id': 'msg_x' }, body, at), false);
	assert.equal(verify([secret], { ...headers, 'webhook-signature': 'v1,' }, body, at), false);
	assert.equal(verify([secret], { ...headers, 'webhook-timestamp': `${at}x` }, body, at), false);
});
