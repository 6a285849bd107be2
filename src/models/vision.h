#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/layer.h"
#include "models/network.h"
#include "models/patches.h"
#include "models/places.h"
#include "models/watch.h"

namespace headscope::models {

/// Rows in front of the patches.
struct FrontFacts {
  std::string name;       ///< whole name of a tensor of count * C numbers
  std::string label;      ///< as a person reads it; of several "register {}"
  std::int64_t count = 1;
  bool placed = true;     ///< the table of positions has rows for them
};

/// What a layer of a vision model has besides LayerFacts. LayerFacts::cross, where there is one, is a second
/// attention between its first one and its MLP.
struct BlockFacts {
  Meeting meeting = Meeting::kAll;        ///< in the first attention
  Meeting second = Meeting::kAll;         ///< in the other one
  std::int64_t side = 0, shift = 0;       ///< of windows
  std::int64_t width = 0;                 ///< C here; 0: as everywhere
  std::string bias;                       ///< table of biases by distance; behind the prefix
  std::string attention_scale, mlp_scale; ///< C numbers that multiply what joins; behind the prefix
  std::string dense;                      ///< a linear map behind the first attention's output
  std::string merging;                    ///< four patches become one afterwards (Swin): whole name
  bool shown = true;                      ///< the hidden state after it is one of those that are kept
  std::string name, second_name;          ///< what people call the attentions; "" : their number
  /// What Transformers call their weights.
  std::string attention_name, second_attention_name;
};

/// What stands on top.
struct VisionTop {
  /// What is read.
  enum class From : std::uint8_t {
    kNone,
    kFirst,            ///< the first row
    kPatches,          ///< the mean of all patches
    kFirstAndPatches,  ///< both, side by side
    kPooled,           ///< pooler_output
    kProbe,            ///< what a learned row finds by an attention of its own (SigLIP), then an MLP
  };
  From pooled = From::kNone;
  std::string pooled_norm;   ///< "" : none
  float pooled_eps = 1e-5F;
  std::string pooled_dense;  ///< "" : none. Used where the file has it; then `pooled_activation`
  kernels::Activation pooled_activation = kernels::Activation::kTanh;
  bool dense_must = false;   ///< without it there is no pooler_output

  From classified = From::kNone;
  std::string classifier_norm;
  /// One map; or two for the first two rows, whose mean counts (DeiT's teacher).
  std::vector<std::string> classifiers, classifier_outputs;

  std::string projection;         ///< of pooler_output, without bias, to image_embeds; "" : none
  std::int64_t projection_width = 0;
  std::string probe;              ///< prefix of kProbe's tensors
  std::int64_t probe_heads = 0, probe_mlp_width = 0;
};

/// Facts of a model that reads pictures or videos.
struct VisionBlueprint {
  Blueprint body;  ///< width, norm, layers, embedding_norm, final_norm, prefixes
  PatchFacts patches;
  std::vector<BlockFacts> blocks;  ///< one for each of body.layers
  std::vector<FrontFacts> in_front;
  std::string positions;       ///< whole name of a table; "" : none
  bool computed = false;       ///< positions are sines and cosines
  Fit fit = Fit::kBicubic;     ///< for pictures of another size
  bool exact_size = false;     ///< there is no way to read others
  /// A table of n*n positions counts as a square, whatever the trained pictures are, unless the picture at hand
  /// is a square of as many patches: as Transformers read DINOv2 and BEiT.
  bool square_table = false;
  std::string time_positions;  ///< whole name, [frames,C]; then patches lie one by one, each frame by frame
  bool frames_apart = false;   ///< every frame is a picture of its own (TimeSformer's space_only)
  std::string shared_bias;     ///< table of biases by distance for all layers; whole name
  float embedding_eps = 1e-5F; ///< of body.embedding_norm
  VisionTop top;
  /// Old names of tensors: a name that ends in the first is found under the second, too.
  std::vector<std::pair<std::string, std::string>> renamed;
};

/// A transformer over patches. Attentions are numbered as they come; a second one in a layer follows its first.
class Vision : public Network {
 public:
  /// Errors: kNotFound, kShape, kDType, each naming the tensor.
  Vision(VisionBlueprint facts, Tensors tensors);

  [[nodiscard]] const Blueprint& blueprint() const override { return facts_.body; }
  [[nodiscard]] const VisionBlueprint& vision() const { return facts_; }
  [[nodiscard]] std::size_t layers() const override { return seen_.size(); }
  [[nodiscard]] const AttentionFacts& facts(std::size_t layer) const override;
  [[nodiscard]] const AttentionWeights& attention(std::size_t layer) const override;
  [[nodiscard]] Tensor output_weight(std::size_t layer) const override;
  [[nodiscard]] Tensor output_bias(std::size_t layer) const override;
  [[nodiscard]] std::int64_t parameters() const override { return weights_.parameters(); }
  [[nodiscard]] bool generates() const override { return false; }
  [[nodiscard]] KvCache cache(DType dtype, std::int64_t positions) const override;
  [[nodiscard]] std::string attention_name(std::size_t layer) const override;
  [[nodiscard]] std::string layer_name(std::size_t layer) const override;
  [[nodiscard]] std::vector<Label> labels(const Tokens& tokens,
                                          std::size_t layer,
                                          std::int64_t b) const override;
  [[nodiscard]] const PatchFacts* pictures() const override { return &facts_.patches; }
  [[nodiscard]] Run run(const Tokens& tokens, const RunOptions& options) const override;

 private:
  struct Block {
    std::shared_ptr<const Layer> layer;
    Tensor bias, attention_scale, mlp_scale;
    std::optional<Linear> dense, reduction;
    Norm merging;
  };
  struct Seen {
    std::size_t block = 0;
    bool second = false;
  };
  struct Probe {
    AttentionFacts facts;
    AttentionWeights attention;
    Tensor row;  // [1,1,C]
    Norm norm;
    std::optional<Mlp> mlp;
  };
  class Pass;  // one run: vision.cpp

  void read_block(std::size_t n);
  void read_top();
  void read_probe();
  [[nodiscard]] std::int64_t in_front() const;
  [[nodiscard]] Tensor positions_of(const Grid& grid, bool square) const;
  [[nodiscard]] Tensor embed(const Tensor& pixels, const Grid& grid) const;
  [[nodiscard]] Grid grid_at(std::size_t block, Grid grid) const;
  [[nodiscard]] Grid read_grid(const Tokens& tokens) const;
  [[nodiscard]] Places places(std::size_t block, bool second, const Grid& grid) const;
  [[nodiscard]] Tensor taken(VisionTop::From from, const Run& run) const;
  void run_top(Run& run, const RunOptions& options) const;
  [[nodiscard]] Tensor run_probe(Run& run, const RunOptions& options) const;
  void classify(Run& run) const;

  VisionBlueprint facts_;
  Weights weights_;
  std::optional<Patches> patches_;
  std::vector<Tensor> front_;
  Tensor positions_, time_positions_, shared_bias_;
  Norm embedding_norm_, final_norm_, pooled_norm_, classifier_norm_;
  std::vector<Block> blocks_;
  std::vector<Seen> seen_;  // what Sight and Edit call layers
  std::optional<Linear> pooled_dense_, projection_;
  std::vector<Linear> classifiers_;
  std::optional<Probe> probe_;
};

/// Reads config.json of a family that reads pictures; nothing when config["model_type"] is none of them.
/// Errors: kFormat, kUnsupported (an option or a class of models that there is no part for).
std::optional<VisionBlueprint> read_vision(const json::Value& config, const std::string& architecture);
std::vector<std::string> vision_families();

}  // namespace headscope::models
