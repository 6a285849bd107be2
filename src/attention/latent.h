#pragma once

#include "headscope/attention.h"

namespace headscope {

/// Step 1 by way of a latent: queries [M,H*D], keys and values [M,H*D + H*Dv] of rows x [M,C], each head's
/// turned numbers first.
void project_latent(const AttentionWeights& weights,
                    View<const float, 2> x,
                    View<float, 2> q,
                    View<float, 2> kv);

/// The columns of queries and of keys and values in [B,T,(H+G)*D + G*Dv]. Errors: kShape.
Projected self_columns(const AttentionWeights& weights, View<float, 3> qkv);

}  // namespace headscope
