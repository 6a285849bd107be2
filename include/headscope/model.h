#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "headscope/attention.h"
#include "headscope/audio.h"
#include "headscope/linear.h"
#include "headscope/sighting.h"
#include "headscope/tokenizer.h"

namespace headscope {

/// Token ids and what goes with them, all [B,T].
struct Tokens {
  Tensor ids;             ///< i32
  Tensor attention_mask;  ///< u8, 0 hides a token; empty: all count
  Tensor type_ids;        ///< i32; empty: all 0
  Tensor position_ids;    ///< i32; empty: as the family counts them

  /// i32 [N+1], with B = 1: N sequences lie one behind the other, the n-th in cu_seqlens[n], ...,
  /// cu_seqlens[n+1]-1, as in FocusOptions: no row is spent on padding. Such a run gives hidden states alone, and
  /// takes no mask, cache or Sight.
  Tensor cu_seqlens = {};

  /// Encoder-decoders: the tokens above (or `features`) are what the encoder reads, these what the decoder
  /// has said so far. Without them it says what it always begins with. With a cache that has a memory, these
  /// alone go on.
  Tensor decoder_ids = {};   ///< i32 [B,Td]
  Tensor decoder_mask = {};  ///< u8 [B,Td], 0 hides a token; empty: all count
  Tensor features = {};      ///< f32 [B,bins,frames], for models that hear: see log_mel

  /// Models that see: f32 [B,channels,H,W]; videos [B,frames,channels,H,W]: see Model::pixels. Of two towers each
  /// reads its own, and either may be left out.
  Tensor pixels = {};
};

/// Where a run goes on that others have begun: the residual stream in front of a layer, many changed copies of it at
/// once if need be. Only of models of one stack: Model::resumes().
struct Resume {
  int layer = 0;  ///< the first one to run; as many as there are layers: only what stands on top
  int end =
      -1;  ///< the first one not to run; -1: to the top. Else last_hidden_state is the stream there
  const Tensor* x =
      nullptr;  ///< [B,T,C] in front of `layer`; nullptr (then layer 0): the embeddings
  /// [B,T,C], what the attention of `layer` gives, with its bias, before any norm behind it; nullptr: it is computed.
  const Tensor* attended = nullptr;
};

/// What a run should do besides computing.
struct RunOptions {
  const Sight* sight = nullptr;  ///< record this of every layer; nullptr: nothing
  std::vector<int> layers;       ///< layers that `sight` applies to; empty: all
  std::vector<Edit> edits;
  bool outputs = true;         ///< compute pooler_output and logits, where the model has them
  bool hidden_states = false;  ///< keep the residual stream after every layer
  bool router_logits = false;  ///< keep what routers of experts say
  std::int64_t logits_rows =
      -1;  ///< logits of so many last rows that count of each sequence; -1: all rows
  /// One a sequence: rows go on where each ends, and join it. A row of padding may only stand behind all
  /// others of its sequence. Prompts may come in several blocks; a Sight needs one sequence.
  std::vector<KvCache*> caches;
  /// Rotary positions of some models depend on how long the sequence will be; 0: as long as it is now.
  std::int64_t final_length = 0;
  std::vector<int> trace_layers;  ///< keep every number of these layers' attention
  const Resume* resume =
      nullptr;  ///< go on in the middle; hidden states and caches are not for that
};

/// What a run gives. Tensors that the model has no head for, or that were not asked for, are
/// empty().
struct Run {
  Tensor last_hidden_state;  ///< [B,T,C]
  /// L+1 of [B,T,C]: after the embeddings, then after each layer (the last one also after the final
  /// norm, where Transformers show it so).
  std::vector<Tensor> hidden_states;
  /// Of encoder-decoders; the other tensors are then the decoder's.
  Tensor encoder_last_hidden_state;           ///< [B,T,C]
  std::vector<Tensor> encoder_hidden_states;  ///< as hidden_states
  Tensor pooler_output;                       ///< [B,C]
  Tensor logits;                              ///< [B,T,V] ([B,logits_rows,V]) or [B,labels]
  std::vector<Tensor> router_logits;          ///< [B*T,E] of each layer with experts
  /// What has no place above, under the names of Transformers: "text.hidden_states.0", "image_embeds",
  /// "logits_per_image", "cls_logits".
  std::map<std::string, Tensor, std::less<>> more;
  Sighting sighting;
  std::vector<AttentionTrace> traces;  ///< in the order of RunOptions::trace_layers
};

/// What a person wants to know about a head before looking: read from roles.json beside the model.
struct Role {
  int layer = 0;
  int head = 0;
  std::string letter;     ///< badge, one letter
  std::string shape;      ///< circle position, square syntax, triangle copying, hexagon sink
  std::string en, ru;     ///< short names
  std::string source;     ///< "hand-made", or where the score comes from
  std::string source_ru;  ///< the same in Russian; "" where it is the same
  double score = 0.0;     ///< share of hits, 0..1; meaningless when n == 0
  double baseline = 0.0;
  std::int64_t n = 0;
};

/// What a model's files say about its answers.
struct GenerationConfig {
  std::vector<std::int32_t> stop_ids;  ///< tokens that end one
  std::vector<std::int32_t> begin;     ///< tokens that an encoder-decoder's answers begin with
  std::vector<std::int32_t> never;     ///< tokens that never come, and those that never come first
  std::vector<std::int32_t> never_first;
  std::string bos_token, eos_token;  ///< as texts; "" : none
  std::string chat_template;         ///< Jinja, see ChatTemplate; "" : the model does not chat
};

/// How one vector is made of the last hidden states of a sequence.
struct Pooling {
  enum class Kind : std::uint8_t { kMean, kFirst, kLast, kMax };
  Kind kind = Kind::kMean;  ///< over the tokens that count
  bool unit_length = true;  ///< divided by its length
};

namespace models {
struct Tensors;
class Network;
}  // namespace models

/// How a model is loaded.
struct LoadOptions {
  Linear::Compute compute = Linear::Compute::kExact;
  bool finite = true;  ///< refuse weights that are NaN or infinite
  /// Changes the tensors of the file before they are packed; what it puts there it keeps alive.
  std::function<void(models::Tensors&)> change;
};

/// A model as it lies in a folder in Hugging Face layout, mapped and packed. Immutable; safe to
/// share.
class Model {
 public:
  /// `name`: a folder, a .safetensors file with its config.json beside it, a .gguf file (or a folder
  /// that holds one), or a built-in name
  /// ("planted"). Errors: kNotFound (says where it looked), kUnsupported (unknown family: lists
  /// those known),
  ///         kFormat, kShape (names the tensor, expected and found).
  static Model load(const std::string& name, Linear::Compute compute = Linear::Compute::kExact);
  static Model load(const std::string& name, const LoadOptions& options);

  Model(Model&&) noexcept;
  Model& operator=(Model&&) noexcept;
  ~Model();

  [[nodiscard]] const std::string& name() const;
  [[nodiscard]] const std::string& family() const;  ///< model_type
  /// Attentions, in the order in which Sight and Edit number them. Of an encoder-decoder: the encoder's, the
  /// decoder's among its own tokens, then the decoder's over the encoder (cross attention). Of two towers: the
  /// text's, then the picture's. Of TimeSformer: over time and over space in turns. Where sequences of a picture are
  /// looked at apart they are the B of a record, those of the first picture first: windows of Swin row by row,
  /// frames, places in time.
  [[nodiscard]] int layers() const;
  [[nodiscard]] int encoder_layers() const;  ///< 0 unless there are two stacks
  [[nodiscard]] int decoder_layers() const;  ///< 0 unless there are two stacks
  /// "3"; of an encoder-decoder "encoder 3", "decoder 0", "cross 0"; of two towers "text 0", "vision 3"; of Swin
  /// "stage 0 block 1"; of TimeSformer "time 0", "space 0"; of SigLIP "pooling". Errors: kRange.
  [[nodiscard]] std::string layer_name(int layer) const;
  /// What Transformers call its weights: "attentions.3", "cross_attentions.0", "vision.attentions.1".
  /// Errors: kRange.
  [[nodiscard]] std::string attention_name(int layer) const;
  [[nodiscard]] int heads() const;                ///< of layer 0
  [[nodiscard]] int heads(int layer) const;       ///< Errors: kRange
  [[nodiscard]] std::int64_t width() const;       ///< C
  [[nodiscard]] std::int64_t vocabulary() const;  ///< V
  [[nodiscard]] std::int64_t positions() const;   ///< longest sequence in tokens, specials included
  /// Longest answer in tokens with what it begins with: as positions() unless there are two stacks.
  [[nodiscard]] std::int64_t answer_positions() const;
  [[nodiscard]] std::int64_t parameters() const;
  /// Where its files lie.
  [[nodiscard]] const std::filesystem::path& folder() const;
  /// What was loaded: the folder, or the one file in it that was named; Model::load takes it.
  [[nodiscard]] const std::filesystem::path& source() const;
  [[nodiscard]] const std::vector<Role>& roles() const;
  [[nodiscard]] const GenerationConfig& generation() const;
  /// Whether it foretells the next token: what Generator wants.
  [[nodiscard]] bool generates() const;
  /// Name of what a classifier tells apart; "LABEL_3" when the files give none.
  [[nodiscard]] std::string label(std::int64_t n) const;
  /// Errors: kNotFound when the folder has no tokenizer.json.
  [[nodiscard]] const Tokenizer& tokenizer() const;

  /// Errors: kInput (text not UTF-8, empty, longer than the positions: says by how much).
  [[nodiscard]] Tokens tokens(std::string_view text,
                              std::vector<Label>* labels = nullptr,
                              bool truncate = false) const;
  /// What a model that hears reads: the sound at its rate, as log_mel, in a window of its length.
  /// Errors: kUnsupported for other models; kInput for a longer sound (says by how much; see transcribe).
  [[nodiscard]] Tokens tokens(const Audio& audio) const;
  /// Whether a run can go on in the middle: RunOptions::resume.
  [[nodiscard]] bool resumes() const;
  /// What runs it: facts of every layer, for code of this library.
  [[nodiscard]] const models::Network& network() const;
  /// Whether its encoder reads sound.
  [[nodiscard]] bool hears() const;
  /// Whether it reads pictures (a video is several).
  [[nodiscard]] bool sees() const;
  /// Pictures as the model's preprocessor_config.json wants them (without one: in the size it was trained on, as
  /// numbers from -1 to 1). Shapes  rgb [N,H,W,3] -> Tokens::pixels [N,channels,H',W'], or the frames of one
  /// video: [1,N,channels,H',W']. Errors: kUnsupported when it reads none; those of pixels_from_rgb.
  [[nodiscard]] Tokens pixels(View<const std::uint8_t, 4> rgb) const;
  /// Frames of the videos that it was trained on; 0: it reads pictures one by one, or none.
  [[nodiscard]] std::int64_t frames() const;
  /// The part of pictures that it sees, small enough for people: see seen_part. Shapes [N,H,W,3] -> [N,h,w,3].
  /// Errors: kUnsupported when it reads none; those of resize.
  [[nodiscard]] Tensor seen(View<const std::uint8_t, 4> rgb, std::int64_t most_side) const;
  /// What the keys of sequence b in the record of a layer are: "patch 3,0" (row, column), "frame 2 patch 3,0",
  /// "[CLS]", "register 1", "filling" (of a window beyond the edge). Empty where they are the tokens of a text.
  /// Errors: kRange; those of run() for the pixels.
  [[nodiscard]] std::vector<Label> labels(const Tokens& tokens,
                                          int layer,
                                          std::int64_t b = 0) const;
  /// An empty cache for one sequence of at most `positions` tokens (0: answer_positions()).
  /// Errors: kUnsupported for a model whose tokens see those behind them.
  [[nodiscard]] KvCache cache(DType dtype = DType::kF32, std::int64_t positions = 0) const;
  /// One forward pass. Errors: kRange (an edit or token that is not there), kInput (too long).
  [[nodiscard]] Run run(const Tokens& tokens, const RunOptions& options = {}) const;
  /// Tokenise, run and record everything. An encoder-decoder answers first (its likeliest tokens, at most 128);
  /// then the heads are watched over text and answer at once.
  [[nodiscard]] Sighting see(std::string_view text) const;

  /// One vector a sequence, made as the model's files say (Sentence Transformers' pooling; else the mean,
  /// of length 1); of an encoder-decoder the encoder's. Shapes  [B,T,C] -> [B,C].
  [[nodiscard]] Tensor embedding(const Run& run, const Tensor& attention_mask = {}) const;

  /// One vector for each text, as embedding() makes it of a run of that text alone. Shapes  N texts -> [N,C].
  /// Cost    rows of real tokens only: texts are run packed one behind the other, or, in families whose attention
  ///         cannot be packed (relative buckets, say), together with others of their length.
  /// Errors  those of tokens(); with `truncate` long texts are cut.
  [[nodiscard]] Tensor embed(std::span<const std::string> texts, bool truncate = false) const;

  /// Weight of `output` of a layer, [C, H*Dv] f32, and its bias [C] (zeros when there is none).
  [[nodiscard]] Tensor output_weight(int layer) const;
  [[nodiscard]] Tensor output_bias(int layer) const;
  [[nodiscard]] const AttentionWeights& attention(int layer) const;

  struct Parts;

 private:
  [[nodiscard]] bool packs() const;
  explicit Model(std::unique_ptr<const Parts> parts);
  std::unique_ptr<const Parts> parts_;
};

/// Shapes  last_hidden_state [B,T,C], attention_mask u8 [B,T] or empty: all count -> [B,C]. Errors: kShape.
Tensor pool(const Tensor& last_hidden_state, const Tensor& attention_mask, const Pooling& pooling);
/// Mean of the last hidden state over the tokens that count, divided by its length. Shapes [B,T,C]
/// -> [B,C].
Tensor mean_embedding(const Tensor& last_hidden_state, const Tensor& attention_mask);

/// What each head adds to a layer's output, and how well the parts sum up to the whole (law 1 of
/// heads).
struct Contributions {
  Tensor by_head;      ///< [H,B,T,C]: z_h W_O^h, without the bias
  double error = 0.0;  ///< largest |sum_h z_h W_O^h + b_O - out| over the largest |out|
};
/// Cost  2*B*T*H*Dv*C flop in double.  Errors: kShape when the trace is of another model.
Contributions contributions(const Model& model, int layer, const AttentionTrace& trace);

/// Names of the families that Model::load knows.
std::vector<std::string> families();

}  // namespace headscope
