#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "formats/json.h"
#include "headscope/linear.h"
#include "headscope/split.h"
#include "kernels/isa.h"
#include "models/rope.h"

/// One family is a table of facts read from config.json; `transformer.cpp` and the files beside it do the
/// rest. Names of tensors come without `.weight` and `.bias`; "" means that there is none. A bias is used
/// where the file has one.
namespace headscope::models {

/// Norms of the residual stream and of what joins it.
struct NormFacts {
  HeadNorm::Kind kind = HeadNorm::Kind::kLayer;
  float eps = 1e-5F;
  bool plus_one = false;  ///< weights are stored without their 1 (Gemma, Nemotron)
  bool bare = false;      ///< no weights at all (OLMo 1)
};

/// Which row of the file's matrices is which: how queries, keys and values are told apart.
enum class QkvLayout : std::uint8_t {
  kSeparate,      ///< three matrices: query, key, value
  kConcatenated,  ///< one (`fused`): all queries, all keys, all values
  kByHead,      ///< one: the query, key and value of head 0, then of head 1, ... (GPT-NeoX, BLOOM)
  kByGroup,     ///< one: the queries, the key and the value of group 0, ... (Falcon 40B)
  kFourShards,  ///< one: four times the queries, values and keys of a quarter of the heads (CodeGen)
};

/// Names and ranks of multi-head latent attention (DeepSeek).
struct LatentFacts {
  std::int64_t query_rank = 0;  ///< 0: queries come straight from x (AttentionFacts::query)
  std::int64_t rank = 0;        ///< of keys and values
  std::int64_t turned = 0;  ///< numbers of a head with rotary positions, stored behind the others
  std::string query_down, query_norm, query_up;
  std::string down, norm, up;
};

/// A bias that depends on how far a key is away, in buckets that widen with the distance.
/// Source  Raffel 2020 (T5) s2.1.
struct RelativeFacts {
  std::string table;  ///< [buckets,H]; "" : none
  std::int64_t buckets = 32;
  std::int64_t furthest = 128;
  bool both_ways = true;  ///< keys to the right have buckets of their own
};

/// Names and sizes of disentangled attention (DeBERTa): see DisentangledPositions.
struct DisentangledFacts {
  bool content_to_position = false;
  bool position_to_content = false;
  std::int64_t span = 0, buckets = 0, furthest = 0;
  std::string table, norm;  ///< [2*span,C], and a norm over it or ""
  std::string key, query;   ///< maps of the layer that make keys and queries of the table
};

/// Attention of one layer.
struct AttentionFacts {
  std::int64_t heads = 0;        ///< H
  std::int64_t groups = 0;       ///< G
  std::int64_t width = 0;        ///< D
  std::int64_t value_width = 0;  ///< Dv
  std::optional<float> scale;    ///< of scores; default 1/sqrt(D)
  bool causal = true;
  std::int64_t window_left = -1;   ///< keys to the left besides itself; -1: all
  std::int64_t window_right = -1;  ///< likewise to the right
  float softcap = 0.0F;            ///< of scores; 0: none
  float clip = 0.0F;               ///< of q, k and v; 0: none
  std::vector<float> slopes;       ///< ALiBi, one a head
  bool slopes_bf16 = false;        ///< slope * position is rounded to bf16, as Falcon was trained
  float slopes_scale = 1.0F;       ///< of the bias, after that rounding
  Rope rope;                       ///< style kNone: none
  RelativeFacts relative;
  HeadNorm::Kind qk_norm = HeadNorm::Kind::kNone;
  HeadNorm::Over qk_norm_over = HeadNorm::Over::kHead;
  float qk_norm_eps = 1e-6F;
  bool qk_norm_plus_one = false;
  std::optional<LatentFacts> latent;
  std::optional<DisentangledFacts> disentangled;

  QkvLayout layout = QkvLayout::kSeparate;
  std::string query, key, value;  ///< kSeparate
  std::string fused;              ///< all other layouts
  std::string output;
  /// Its weights are one tensor, or one a head: "q_layernorm.norms.{}".
  std::string query_norm, key_norm;
  std::string sinks;  ///< the whole name of a tensor [H]
};

/// Experts that a router chooses a few of for every token.
struct ExpertFacts {
  enum class Scores : std::uint8_t {
    kSoftmax,  ///< over all experts, then the chosen ones
    kChosen,   ///< softmax over the chosen ones alone
    kSigmoid,  ///< each by itself
  };
  std::int64_t count = 0;  ///< experts
  std::int64_t chosen = 0;
  std::int64_t width = 0;  ///< of each
  Scores scores = Scores::kSoftmax;
  bool renormalise = false;  ///< weights of the chosen ones sum to 1
  float scale = 1.0F;        ///< of their weights
  std::int64_t groups = 1;   ///< of experts, of which `chosen_groups` take part
  std::int64_t chosen_groups = 1;
  int group_best = 1;        ///< a group counts as much as the sum of so many best scores in it
  std::string correction{};  ///< whole name of what is added to scores when choosing; "" : nothing
  std::string router{};
  /// "mlp.experts.{}.": a prefix for the names of MlpFacts. "" : stacked tensors as in gpt-oss, or their
  /// MXFP4 blocks, under the names `gate_up` and `down`.
  std::string prefix{};
  std::string shared{};           ///< prefix of an expert that all tokens visit; "" : none
  std::int64_t shared_width = 0;  ///< of it
  std::string shared_gate{};      ///< its share is the sigmoid of this; "" : 1
};

/// What follows attention in a layer.
struct MlpFacts {
  enum class Form : std::uint8_t {
    kPlain,    ///< down(act(up(x)))
    kGated,    ///< down(act(gate(x)) * up(x))
    kClamped,  ///< down(g sigmoid(alpha g) (u + 1)), g at most limit, u within +-limit (gpt-oss)
  };
  Form form = Form::kPlain;
  kernels::Activation activation = kernels::Activation::kGelu;
  std::int64_t width = 0;
  float alpha = 1.702F, limit = 7.0F;  ///< kClamped
  std::string up, down, gate;
  std::string gate_up;  ///< gate and up in one matrix, the gate first
  std::optional<ExpertFacts> experts;
};

/// The norms around one half of a layer: x + after(half(before(x))), then `over` all of it.
struct Norms {
  std::string before, after, over;
};

struct LayerFacts {
  std::string
      prefix;  ///< of the names below, number and all. Equal prefixes share weights (ALBERT)
  AttentionFacts attention;
  Norms attention_norms;
  /// A decoder's attention over what an encoder made of its input, between the two halves.
  std::optional<AttentionFacts> cross;
  Norms cross_norms;
  MlpFacts mlp;
  Norms mlp_norms;
};

/// A convolution of the embeddings that joins what the first layer gives (DeBERTa v2 XLarge).
struct ConvolutionFacts {
  std::string name, norm;
  std::int64_t kernel = 3;
  std::int64_t groups = 1;
  kernels::Activation activation = kernels::Activation::kTanh;
};

/// What stands on top of the last hidden state: [dense -> activation -> norm ->] out.
struct HeadBlueprint {
  enum class From { kEveryToken, kFirstToken, kMean, kPooler };
  std::string architecture{};  ///< ending of the class name in config.json: "ForMaskedLM"
  From from = From::kEveryToken;
  std::string dense{};           ///< "" : none
  std::int64_t dense_width = 0;  ///< of its output; 0: as wide as its input
  kernels::Activation activation = kernels::Activation::kTanh;
  std::string norm{};      ///< "" : none
  std::string out{};       ///< name of the last linear map
  std::string out_bias{};  ///< its bias has a name of its own; "" : `out`.bias
  bool tied = false;       ///< without out.weight, the word embeddings serve
};

/// How a token that brings no position gets one.
enum class PositionRule : std::uint8_t {
  kIndex,        ///< its place in the row
  kSkipPadding,  ///< tokens before it that are not pad_token, counted from pad_token + 1 (RoBERTa)
  kCountMask,    ///< tokens before it that the attention mask lets through (OPT)
};

struct Blueprint {
  std::string family;
  std::vector<std::string> prefixes;  ///< that published tensor names may carry

  std::int64_t width = 0;  ///< C
  std::int64_t vocabulary = 0;
  std::int64_t positions = 0;        ///< longest sequence in tokens
  std::int64_t position_rows = 0;    ///< rows of the position table; 0: none
  std::int64_t position_offset = 0;  ///< row of position 0
  bool sinusoids =
      false;  ///< a table that is not in the file is computed: sines, then cosines (Marian)
  PositionRule position_rule = PositionRule::kIndex;
  std::int64_t pad_token = 0;
  std::int64_t types = 0;            ///< rows of the token-type table; 0: none
  std::int64_t embedding_width = 0;  ///< 0: C; else projected to C by embedding_projection
  bool positions_after_projection = false;
  bool norm_after_projection = false;  ///< the norm of the embeddings
  float embedding_scale = 1.0F;

  NormFacts norm;
  bool parallel = false;         ///< attention and MLP read the same x, and both join it
  bool residual_normed = false;  ///< what they join is what `before` made of x (BLOOM's option)
  float residual_scale = 1.0F;   ///< of what joins
  std::vector<LayerFacts> layers;
  std::optional<ConvolutionFacts> convolution;

  std::string word_embeddings, position_embeddings, type_embeddings;
  std::string embedding_norm, embedding_projection;
  std::string final_norm;
  std::string final_projection;   ///< back to embedding_width (OPT 350M); "" : none
  bool last_hidden_final = true;  ///< the last hidden state has been through the final norm
  std::string pooler;             ///< dense layer on the first token, tanh; "" : none
  float logit_scale = 1.0F;
  float logit_softcap = 0.0F;
  std::vector<HeadBlueprint> heads_on_top;
  bool causal_head = false;  ///< the first of them serves when config.json names no class
  /// config.json promises biases of the maps of attention, or of MLPs: see expect_biases.
  bool attention_biases = false, mlp_biases = false;

  Linear::Layout matrices = Linear::Layout::kOutIn;

  [[nodiscard]] std::int64_t heads() const { return layers.front().attention.heads; }
  /// Of the first token that counts, where padding takes no position.
  [[nodiscard]] std::int64_t first_position() const {
    return position_rule == PositionRule::kSkipPadding ? pad_token + 1 : 0;
  }
  /// Width of a row of the position table: OPT adds it after the projection, ELECTRA before.
  [[nodiscard]] std::int64_t position_width() const {
    return embedding_width > 0 && !positions_after_projection ? embedding_width : width;
  }
};

/// Sound becomes rows: two convolutions over frames of a mel spectrum, the second one halves them (Whisper).
struct SpeechFacts {
  std::int64_t bins = 80;
  std::string first, second;
};

/// A decoder that looks at what an encoder made of the input.
struct PairBlueprint {
  Blueprint encoder, decoder;
  /// Where the words may lie that both stacks share. The first that is in the file serves; those of a
  /// stack's own blueprint serve when none is.
  std::vector<std::string> shared_words;
  std::optional<SpeechFacts> speech;
  std::int64_t start_token = 0;  ///< what the decoder begins with
};

/// How a file stores what config.json does not tell: GGUF differs from published checkpoints here.
struct Stored {
  bool ones_added = false;  ///< norm weights have their 1 already
  bool pairs_as_neighbours =
      false;                      ///< q and k rows are permuted so that rotary pairs are neighbours
  bool qkv_concatenated = false;  ///< fused q, k and v lie one behind the other
  bool out_in = false;            ///< every matrix is [out,in]
  bool experts_apart = false;     ///< stacked experts are tensors of their own, gate and up too
};

/// Reads a family's config.json. Errors: kFormat, kUnsupported (an option this engine has no part
/// for).
using ReadBlueprint = Blueprint (*)(const json::Value& config);

/// Blueprint of config["model_type"]. Errors: kUnsupported, naming the nearest and all known
/// families.
Blueprint read_blueprint(const json::Value& config, const Stored& stored = {});

/// The same for families with two stacks; nothing when config["model_type"] is none of them.
std::optional<PairBlueprint> read_pair(const json::Value& config);

/// Sizes are positive and fit together. Errors: kFormat.
void check(const Blueprint& blueprint);

}  // namespace headscope::models
