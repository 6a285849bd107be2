#pragma once

#include "headscope/attention.h"

namespace headscope {

/// What positions add to the scores of every pair of tokens. Shapes  [B,H,T,T].
/// Cost    4*B*H*T*R*D flop and B*H*T*T numbers. Errors: kUsage for keys of another sequence or a cache.
Tensor disentangled_bias(const DisentangledPositions& positions,
                         const Slices& slices,
                         const AttentionCall& call);

}  // namespace headscope
