#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "formats/json.h"
#include "headscope/gguf.h"
#include "models/blueprint.h"
#include "models/gguf_families.h"

/// Tensors under Hugging Face names from GGUF, and the other way.
namespace headscope::models {

/// What happens to a tensor on its way between the two layouts.
enum class GgufChange {
  kNone,
  kPairs,    ///< rows of every head: pairs (i, i + D/2) in HF lie side by side in GGUF
  kGrouped,  ///< rows: [q.., k, v] of every group in HF, all q, all k, all v in GGUF
  kPlusOne,  ///< GGUF has one added
  kTurned,   ///< transposed
  kOneRow,   ///< [1,C] in HF, [C] in GGUF
};

/// One tensor of a GGUF file and what it is in the other layout.
struct GgufLink {
  std::string gguf;
  std::string hf;  ///< with {} where slices along the first axis are tensors of their own
  GgufChange change = GgufChange::kNone;
  std::int64_t heads = 0;    ///< kPairs: that divide the rows; kGrouped: groups
  std::int64_t queries = 0;  ///< kGrouped: query heads of a group
};

/// Sizes of a model that tell how its rows are arranged.
struct GgufSizes {
  std::int64_t layers = 0, heads = 0, kv_heads = 0;
  std::int64_t decoder_layers = 0;  ///< of a second stack
  bool two_norms = false;           ///< falcon with a norm each for attention and MLP
  bool gated = false;               ///< T5 whose MLPs have gates
};

/// Every tensor a family may have, whether or not it is there.
std::vector<GgufLink> gguf_links(const GgufFamily& family, const GgufSizes& sizes);

/// A model out of a GGUF file as a Hugging Face folder would hold it.
struct GgufModel {
  json::Value config;  ///< as config.json
  std::map<std::string, AnyView, std::less<>> tensors;
  std::vector<std::shared_ptr<const Tensor>> made;  ///< what cannot stay as it lies in the file
  Stored stored;  ///< what is not as in Hugging Face's files, when that was wished for
};

/// Reads config and tensors. Tensors stay in the mapped file, in its dtypes, except those whose
/// numbers are arranged otherwise: q and k of llama (rows copied, blocks as they are), fused qkv,
/// norms of gemma, matrices of gpt2. With `as_stored` none of them is made, and `stored` says so instead.
/// `file` must outlive the result.
/// Errors: kUnsupported (an architecture that is not known here, named), kFormat, kShape.
GgufModel model_from_gguf(const Gguf& file, bool as_stored = false);

/// What the file calls a tensor of Hugging Face's name; of a slice, the whole. "" when no table has it.
/// Cost: a look through all names of the family.
std::string gguf_name(const Gguf& file, std::string_view hf);

/// A tensor of the HF layout as a source in GGUF's, rounded to `dtype`. Rows are read from `views`:
/// one tensor, or all slices of a stacked one.
TensorSource gguf_source(const GgufLink& link, std::vector<AnyView> views, DType dtype);

}  // namespace headscope::models
