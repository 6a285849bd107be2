#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// What GGUF files and Hugging Face folders call the same things, as tables of facts.
/// Source  github.com/ggml-org/llama.cpp, gguf-py/gguf/constants.py and tensor_mapping.py (names),
/// convert_hf_to_gguf.py (what is turned around on the way).
namespace headscope::models {

/// One architecture. Lists are words "HF=GGUF" apart by spaces; a later word overrides an earlier.
struct GgufFamily {
  std::string_view architecture;  ///< general.architecture
  std::string_view model_type;    ///< config.json's model_type
  std::string_view hf_class;      ///< config.json's architectures[0]
  std::string_view once;          ///< tensors outside the layers
  std::string_view prefix;        ///< of a layer's tensors, {} is its number
  std::string_view layer;         ///< tensors of a layer; {} numbers the slices of a stacked tensor
  std::string_view keys;          ///< config's key = metadata's key below "ARCHITECTURE."
  std::string_view constants = "{}";  ///< of config.json, as JSON
  std::string_view present = "";      ///< bools of config.json = the tensor whose presence they say
  std::string_view rotary_share = "";  ///< config's name for rope.dimension_count / head width
  bool pairs = false;     ///< rows of q and k: rotary pairs are neighbours in GGUF, halves in HF
  bool grouped = false;   ///< rows of qkv: q, k, v in GGUF, heads (or groups of heads) in HF
  bool plus_one = false;  ///< weights of norms have 1 added in GGUF
  bool turned = false;    ///< matrices are [out,in] in GGUF, [in,out] in HF
  bool untied = false;    ///< files always have output.weight: no model shares its word embeddings
  bool experts = false;   ///< only when metadata has an expert_count
  std::string_view gguf_prefix = "blk.{}.";  ///< what `prefix` is in GGUF
  /// Of families with two stacks: tensors of a layer of the decoder, and its prefixes.
  std::string_view decoder = "", decoder_prefix = "", gguf_decoder_prefix = "dec.blk.{}.";
};

/// Families of an architecture; with `experts`, the one whose layers have experts where there are
/// two. nullptr when it is not known here.
const GgufFamily* gguf_family(std::string_view architecture, bool experts);
/// The family of config.json's model_type, of T5 and its kin also of an encoder alone; nullptr when it has no GGUF names here.
const GgufFamily* gguf_family_of_type(std::string_view model_type, bool encoder_alone = false);
/// Every general.architecture known here, apart by ", ".
std::string gguf_architectures();

/// The pairs of a list of words "a=b", overridden ones left out.
std::vector<std::pair<std::string, std::string>> pairs_of(std::string_view list);

/// GgufFamily::keys behind those that nearly all families share.
std::vector<std::pair<std::string, std::string>> gguf_keys(const GgufFamily& family);

}  // namespace headscope::models
