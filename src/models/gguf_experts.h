#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "headscope/gguf.h"
#include "models/gguf_tensors.h"

/// gpt-oss's experts. Hugging Face's files stack them turned, gate_up_proj [E,C,2W] with gates and ups in turn and
/// down_proj [E,W,C], or not turned as MXFP4: `_blocks` [E,out,in/32,16], whose bytes hold neighbours, and `_scales`
/// [E,out,in/32]. GGUF has gate, up [E,W,C] and down [E,C,W], where bytes of MXFP4 hold numbers sixteen apart.
namespace headscope::models {

using TakeTensor = std::function<const AnyView*(const std::string& name)>;

/// What a link to "blk.N.ffn_{gate,up,down}_exps" is in GGUF, of the tensors that `take` finds; nothing when there are none.
/// Blocks stay blocks, biases become f32, other numbers `dtype`. Errors: kShape.
std::optional<TensorSource> experts_for_gguf(const GgufLink& link,
                                             const TakeTensor& take,
                                             DType dtype);

/// The other way, for all layers, under Hugging Face's names. `dtype` is f32, f16 or bf16. Errors: kShape.
void put_experts(const Gguf& file,
                 std::int64_t layers,
                 DType dtype,
                 std::map<std::string, TensorSource, std::less<>>& out);

}  // namespace headscope::models
