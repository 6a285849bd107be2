#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "headscope/tensor.h"

namespace headscope {
class Model;
}

/// Training: a network made from a family's own config.json, its loss and gradients, and AdamW. What is saved is a
/// folder that Model::load and Transformers read.
namespace headscope::train {

/// Some numbers that training changes.
struct Parameter {
  std::string name;     ///< of the tensor in model.safetensors, as Transformers call it
  Tensor value;         ///< f32, in the shape and layout of the file
  Tensor gradient;      ///< f32, same shape; steps add to it, AdamW::step leaves it 0
  bool decays = false;  ///< matrices and tables do; biases, norms and single rows do not
  bool inner = false;   ///< a matrix from rows to rows, as in a layer: what Muon is made for
  bool tokens = false;  ///< a row of it is a token's: words, their logits, biases of these
};

/// Sequences, one behind the other without padding. N rows (tokens, or patches with what stands in front of them),
/// S sequences.
struct Batch {
  Tensor ids;       ///< i32 [N] tokens; empty for models that see
  Tensor type_ids;  ///< i32 [N] token types (BERT); empty: all 0
  Tensor
      cu_seqlens;  ///< i32 [S+1], from 0 to N, rising; empty for models that see, whose sequences are pictures
  /// i32 [N] what the row of each token should say, -100 where it is not asked (next-token prediction: the token
  /// behind it); or i32 [S], one a sequence, for models that classify sequences. Tokens or classes from 0 on.
  Tensor labels;
  /// i32 [M,5], what heads are taught: layer, head, row, first and last column, as rows of the batch; the row should
  /// look at these columns, which lie in its sequence. Empty: nothing. For models that read tokens.
  Tensor looks;
  Tensor
      pixels;  ///< f32 pictures [S,channels,H,W] or videos [S,frames,channels,H,W], of the size in config.json
  /// Patches to foretell, for a model that sees and has no classifier: u8 [S*P], 1 hidden from the model, 2 shown as in
  /// `pixels`, 0 not foretold; P patches a picture, in the order of Model's labels: frame by frame, row by row.
  Tensor mask;
  Tensor
      targets;  ///< f32 [S*P,K] what each patch is (any K, the same in all steps); rows of mask 0 are not read
};

/// What the heads of one layer found in a step, side by side, before `output`.
struct Findings {
  Tensor value;     ///< f32 [N,H*Dv]
  Tensor gradient;  ///< likewise
};

/// How one step is made.
struct StepOptions {
  bool train = true;  ///< false: the loss alone, without dropout
  double scale =
      1.0;  ///< gradients are those of scale * Loss::sum_nats: 1 / labels in the whole step for a mean
  /// Likewise, of teaching * Loss::taught_nats, which are added. A batch that asks for no label teaches nothing.
  double teaching = 0.0;
  float dropout =
      0.0F;  ///< share of numbers dropped, of the embeddings and of what each half of a layer adds
  float label_smoothing = 0.0F;  ///< share of a label that is spread over all classes
  DType compute = DType::
      kF32;  ///< what factors of matrix products are rounded to: kF32 or kBF16; sums and weights stay f32
  std::uint64_t seed = 0;  ///< of dropout, and
  std::uint64_t step = 0;  ///< which batch of the run this is: equal ones drop equal numbers
  std::vector<Findings>* findings =
      nullptr;  ///< becomes those of every layer, in order; nullptr: not kept
};

/// What a step found.
struct Loss {
  double sum_nats =
      0.0;  ///< sum over labels of -log p; of masked patches: of the mean squared error of a patch
  std::int64_t count = 0;    ///< labels (or patches) that counted
  std::int64_t correct = 0;  ///< labels that were the likeliest; 0 for patches
  double taught_nats =
      0.0;  ///< sum over Batch::looks of -log of the weight on what should be looked at
};

/// A network under training. Families: those whose facts training has parts for (`modernbert`, `bert`, `gpt2`,
/// `llama` and its kin, `vit`, `videomae`, ...); any other fact is an Error that names it.
class Trainee {
 public:
  /// Random weights, as the family's authors draw them (normal, initializer_range wide), places of patches in waves.
  /// Shapes  `config` is the text of a config.json with `architectures`. Numbers depend on the seed alone.
  /// Errors  kFormat, kUnsupported (names the fact).
  static Trainee fresh(std::string_view config, std::uint64_t seed);
  /// Weights of a folder that holds config.json and model.safetensors, widened to f32. What it lacks of a head
  /// that config.json asks for is drawn as in `fresh` (with seed 0). Errors: also those of Model::load.
  static Trainee load(const std::filesystem::path& folder);
  /// The weights of a model that is at hand once more, in f32, for its gradients; of a GGUF file, too, which `save`
  /// then refuses to write. Errors: as load.
  static Trainee of(const Model& model);

  Trainee(Trainee&&) noexcept;
  Trainee& operator=(Trainee&&) noexcept;
  ~Trainee();

  [[nodiscard]] const std::string& family() const;
  [[nodiscard]] std::int64_t vocabulary() const;  ///< 0 for models that see
  [[nodiscard]] std::int64_t positions() const;   ///< longest sequence in rows
  [[nodiscard]] std::int64_t classes()
      const;  ///< of a classifier of sequences; 0: labels are of tokens or patches
  /// In a fixed order; tied weights are there once. Values may be written between steps.
  [[nodiscard]] std::vector<Parameter>& parameters();
  [[nodiscard]] const std::vector<Parameter>& parameters() const;

  /// Forward and, in training, backward: gradients are added to parameters().
  /// Cost     6 flop a row and parameter; memory O(N) rows a layer, kept from step to step; attention O(N).
  /// Threads  the same bits for any number of them.
  /// Errors   kShape, kDType, kRange (a token, label or length that is not there) before anything is computed.
  Loss step(const Batch& batch, const StepOptions& options);
  /// Logits [N,V], or [S,classes]; what Model::run gives. Errors: as step; kUnsupported without such a head.
  [[nodiscard]] Tensor logits(const Batch& batch);
  /// Bytes of the buffers that steps keep, besides values and gradients.
  [[nodiscard]] std::size_t buffer_bytes() const;

  /// Writes config.json and model.safetensors into `folder` (made where it is not there), each to a temporary,
  /// synced and renamed. `dtype`: kF32, kF16 or kBF16. Errors: kIo, kDType.
  void save(const std::filesystem::path& folder, DType dtype = DType::kF32) const;

  struct Parts;

 private:
  explicit Trainee(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.01;  ///< of parameters that decay, times the learning rate
  double clip = 1.0;           ///< gradients are scaled down to this norm of all together; 0: never
  bool muon = false;           ///< inner matrices step by Muon, the rest by Adam
};

/// Adam with decoupled decay, one pass over all numbers. With `muon`, the step of an inner matrix is its momentum with
/// all singular values brought to about 1, as long as Adam's steps are (.2 a number), so that one learning rate and
/// one decay fit all. Cost of that: about 30*m*m*n flop a matrix of m <= n rows and columns, or turned.
/// Source  Kingma & Ba 2015; Loshchilov & Hutter 2019; Muon: Jordan 2024 (kellerjordan.github.io/posts/muon), its
///         scale Liu 2025 (Muon is Scalable for LLM Training) s2.2.
class AdamW {
 public:
  explicit AdamW(std::span<const Parameter> parameters, const AdamWOptions& options = {});

  /// Changes the values, sets the gradients to 0 and returns their norm before clipping.
  /// Threads  the same bits for any number of them.
  /// Errors   kInput when a gradient is NaN or infinite, naming the parameter: then nothing but the gradients (0
  ///          again) has changed, and training may go on. kShape when these are not the parameters it was made for.
  double step(std::span<Parameter> parameters, double learning_rate);

  [[nodiscard]] std::int64_t steps() const { return steps_; }
  /// What a checkpoint keeps besides steps(): "adamw.first.NAME" and (not of Muon) "adamw.second.NAME", f32.
  [[nodiscard]] std::map<std::string, AnyView, std::less<>> state() const;
  /// Goes on from such a state. Errors: kNotFound, kShape, kDType, naming the tensor; then nothing has changed.
  void restore(const std::map<std::string, AnyView, std::less<>>& state, std::int64_t steps);

 private:
  struct Moments {
    std::string name;
    Tensor first, second;
  };
  AdamWOptions options_;
  std::vector<Moments> moments_;
  std::int64_t steps_ = 0;
};

}  // namespace headscope::train
