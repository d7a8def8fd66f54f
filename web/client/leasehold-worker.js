// Made of clients/js/src by clients/js/build.mjs. What it does: docs/widget.md.
var[w,D]=/^(https?:.+)\/client\/(?:[0-9a-f]{16}\/)?leasehold(?:-worker)?\.js/.exec(import.meta.url)??[],k=D,L="leasehold clock",R=3e3,O=`
let seen = Date.now();
onmessage = ({ data: [id, ms] }) => setTimeout(postMessage, ms, id);
setInterval(() => {
	const now = Date.now();
	if (Math.abs(now - seen) > ${R}) postMessage('gap');
	seen = now;
}, 500);
`;function A(e,l,s){let{Date:a,Math:g,performance:d,document:p}=e,u=new Map,i,b,f,x=0;function y(){if(l===!1||!e.Worker)return[];let n=l?String(l):w&&`${w.slice(0,w.lastIndexOf("/"))}/leasehold-worker.js`;return[...n&&_(n)?[()=>n]:[],T]}function _(n){try{return new URL(n,e.location.href).origin===e.location.origin}catch{return!1}}function m([n,...t]){if(i=null,!n)return h(a.now());try{let o=i=new e.Worker(n(),{type:"module",name:L});o.onmessage=({data:r})=>r==="gap"?s(!0):u.get(r)?.(),o.onerror=r=>{r.preventDefault?.(),o.terminate(),o===i&&m(t)}}catch{m(t)}}function h(n){let t=a.now();b=e.setTimeout(h,1e3,t),t-n>1e3+R&&s(!0)}function j(n){M(),m(y()),f=new AbortController;let t=(o,r,c)=>o?.addEventListener?.(r,c,{signal:f.signal});for(let[o,r]of Object.entries(n))t(e,o,r);t(e,"focus",()=>s(!1)),t(p,"visibilitychange",()=>s(!1)),t(p,"resume",()=>s(!0)),t(e,"online",()=>E(g.random()*1500,()=>s(!0)))}function E(n,t){let o=++x,r=()=>(e.clearTimeout(v),u.delete(o)),c=()=>r()&&t(),v=e.setTimeout(c,n);return u.set(o,c),i?.postMessage([o,n]),r}function M(){e.clearTimeout(b),f?.abort(),i?.terminate(),i=null}return{start:j,after:E,stop:M,stamp:(n=a.now())=>({now:d.now()-a.now()+n,wall:n}),since:n=>n?g.max(d.now()-n.now,a.now()-n.wall):1/0}}function T(){return URL.createObjectURL(new Blob([O],{type:"text/javascript"}))}export{k as SERVED_BY,O as WORKER,A as clock};
if (globalThis.name === 'leasehold clock' && !globalThis.document) {
let seen = Date.now();
onmessage = ({ data: [id, ms] }) => setTimeout(postMessage, ms, id);
setInterval(() => {
	const now = Date.now();
	if (Math.abs(now - seen) > 3000) postMessage('gap');
	seen = now;
}, 500);
}
