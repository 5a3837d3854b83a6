// What comes of a call.
'use strict';

/** Calls, and says what came of it: the error's code (0 when there was none, -1 when it has none) and labels. */
async function outcome(call) {
  try {
    await call();
    return { code: 0, labels: [], why: '' };
  } catch (error) {
    const { code = -1, errorLabels = [] } = error;
    return { code, labels: [...errorLabels].sort(), why: String(error) };
  }
}

module.exports = { outcome };
