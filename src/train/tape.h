#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <type_traits>
#include <vector>

#include "headscope/attention.h"
#include "headscope/train.h"
#include "kernels/gradients.h"
#include "models/blueprint.h"
#include "train/arena.h"
#include "train/products.h"

/// Reverse mode: every operation computes rows and writes down how their gradients go back.
namespace headscope::train {

/// The number of some rows [N,C] on the tape.
enum class Var : std::int32_t { kNone = -1 };

/// A linear map by its parameters.
struct Map {
  Parameter* weight = nullptr;
  Parameter* bias = nullptr;  ///< nullptr: none
  bool turned = false;        ///< the weight is [in,out], as GPT-2's
};

struct NormPart {
  HeadNorm::Kind kind = HeadNorm::Kind::kLayer;
  float eps = 0.0F;
  Parameter* weight = nullptr;  ///< nullptr: 1
  Parameter* bias = nullptr;    ///< nullptr: 0
};

/// Rows of a table, one for each row of the result; `rows` must outlive the step.
struct Lookup {
  Parameter* table = nullptr;
  const std::int32_t* rows = nullptr;
  float factor = 1.0F;
};

/// How the rows of a step fall into sequences.
struct Sequences {
  View<const std::int32_t, 1> cu_seqlens;  ///< [S+1]
  View<const std::int64_t, 2> positions;   ///< [1,N], where rotary rows sit
  [[nodiscard]] std::int64_t count() const { return cu_seqlens.shape[0] - 1; }
  [[nodiscard]] std::int64_t rows() const { return cu_seqlens(count()); }
};

/// Attention of one layer over rows of queries, keys and values [N, (H+G)*D + G*Dv].
struct AttendPart {
  std::int64_t heads = 0, groups = 0, width = 0, value_width = 0;
  Rotary rotary;
  FocusOptions options;  ///< without cu_seqlens
};

/// A row that should look at some columns of its sequence, with one head.
struct Look {
  std::int32_t head = 0;
  std::int32_t row = 0, first = 0, last = 0;  ///< rows of the batch; columns [first, last]
};

/// What weights are made from: queries and keys as they met, and lse.
struct TaughtRows {
  View<const float, 4> q, k;  ///< [1,H,N,D], [1,G,N,D]
  View<const float, 3> lse;   ///< [1,H,N]
  Sequences sequences;
};

/// Columns that a row of a sequence sees: [first, last).
struct Seen {
  std::int64_t first = 0, last = 0;
};
Seen seen_by(std::int64_t row, const Sequences& sequences, const FocusOptions& options);

/// Sum over looks of -log of the weight that the row gives to its columns. Cost 2*T*D flop a look.
double taught_nats(const TaughtRows& rows, const AttendPart& part, std::span<const Look> looks);
/// Adds the gradient of weight * taught_nats. Threads: the same bits for any number of them.
void teach_back(const TaughtRows& rows,
                const AttendPart& part,
                std::span<const Look> looks,
                float weight,
                const View<float, 4>& dq,
                const View<float, 4>& dk);

/// What stands in front of patches, and where they are.
struct PatchesPart {
  std::int64_t sequences = 0, patches = 0;  ///< S, P
  std::span<Parameter* const> front;        ///< F rows in front of each sequence
  Parameter* positions = nullptr;           ///< [F+P,C]; nullptr: `computed`
  const float* computed = nullptr;          ///< likewise, constant; nullptr: none
  Parameter* masked = nullptr;              ///< what a hidden patch becomes
  const std::uint8_t* mask = nullptr;       ///< [S*P]; nullptr: none is hidden
};

class Tape {
 public:
  Tape();
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  /// Forgets what was; buffers stay.
  void begin(const StepOptions& options);
  /// Goes back through all operations. Whoever made a loss has given its gradient to the rows it read.
  void backward();

  [[nodiscard]] View<const float, 2> value(Var v) const;
  [[nodiscard]] std::int64_t rows(Var v) const { return at(v).rows; }
  [[nodiscard]] std::int64_t width(Var v) const { return at(v).width; }
  /// Bytes of all buffers.
  [[nodiscard]] std::size_t bytes() const { return arena_.bytes(); }

  /// Rows that are given and need no gradient: to be filled.
  Var input(std::int64_t rows, std::int64_t width, float** to);
  /// Sum of rows of tables. Shapes [N,C].
  Var embed(std::int64_t rows, std::span<const Lookup> lookups);
  /// Shapes  patches [S*P,C] -> [S*(F+P),C].
  Var place(Var patches, const PatchesPart& part);
  /// Maps side by side. Shapes [N,K] -> [N, sum of their widths].
  Var linear(Var x, std::span<const Map> maps);
  Var norm(Var x, const NormPart& part);
  /// x + more; the numbers of `more` are used up: nobody else may read them.
  Var add(Var x, Var more);
  /// Share `dropout` of the numbers of x becomes 0, where it lies; its own operation must not need its values.
  void drop(Var x);
  Var activate(Var x, kernels::Activation kind);
  /// Shapes  [N, 2*F], gates first -> [N,F].
  Var gate(Var x, kernels::Activation kind);
  /// Rotary turns and focus. Takes the values of qkv over: nobody else may read them. `looks` are what its heads are
  /// taught; they must outlive the step.
  Var attend(Var qkv,
             const AttendPart& part,
             const Sequences& sequences,
             std::span<const Look> looks = {});
  /// Of all looks since `begin`.
  [[nodiscard]] double taught() const { return taught_; }
  /// Some rows, in rising order.
  Var pick(Var x, std::span<const std::int32_t> rows);
  /// The mean of rows [begin[s], end[s]).
  struct Stretch {
    std::int32_t begin, end;
  };
  Var mean(Var x, std::span<const Stretch> stretches);

  /// Loss of rows [R,C] by what a map to classes says of each, and its gradients: logits never stand in memory whole.
  Loss cross_entropy(Var x,
                     const Map& out,
                     std::span<const std::int32_t> labels,
                     float logit_scale);
  /// Loss of rows [R,K] by their distance from targets, row rows[r] of [*,K].
  Loss mean_squares(Var x, const float* targets, std::span<const std::int32_t> rows);

  /// The rows of v and their gradient join StepOptions::findings, if those are wanted.
  void watch(Var v);
  /// A copy that lives as long as the step.
  std::span<std::int32_t> keep(std::span<const std::int32_t> numbers);

 private:
  struct Value {
    std::int64_t rows = 0, width = 0;
    Block* value = nullptr;
    Block* gradient = nullptr;
    bool wanted = true;  ///< whether anybody needs its gradient
  };
  /// Where a gradient is written, or added where there is one.
  struct Sink {
    float* data = nullptr;  ///< nullptr: not wanted
    bool add = false;
  };
  /// What goes back: a small function object without destructor.
  struct Step {
    static constexpr std::size_t kRoom = 320;
    void (*run)(void*) = nullptr;
    alignas(std::max_align_t) std::byte room[kRoom];
  };

  template <typename F>
  void record(F step) {
    static_assert(std::is_trivially_copyable_v<F> && sizeof(F) <= Step::kRoom);
    if (!options_.train) return;
    Step& made = steps_.emplace_back();
    std::memcpy(made.room, &step, sizeof(F));
    made.run = [](void* p) { (*static_cast<F*>(p))(); };
  }

  [[nodiscard]] Value& at(Var v) { return values_[static_cast<std::size_t>(v)]; }
  [[nodiscard]] const Value& at(Var v) const { return values_[static_cast<std::size_t>(v)]; }
  Var make(std::int64_t rows, std::int64_t width);
  [[nodiscard]] float* numbers(Var v) { return at(v).value->data(); }
  [[nodiscard]] bool has_gradient(Var v) const { return at(v).gradient != nullptr; }
  /// The gradient of v, to be read. Errors: kInternal where there is none.
  [[nodiscard]] float* gradient(Var v);
  [[nodiscard]] Sink sink(Var v);
  /// The gradient of v, to be changed where it lies.
  [[nodiscard]] float* own_gradient(Var v);
  /// Adds a whole gradient to that of v; shares the block where v has none.
  void give(Var v, Block* block);
  /// What nobody needs any more once the operation that made v has gone back.
  void release(Var v);
  void add_rows(const float* from, float* to, std::int64_t n) const;
  void columns(
      const float* dy, std::int64_t rows, std::int64_t width, std::int64_t step, float* to);
  void linear_back(Var x, Var y, std::span<const Map> maps);
  void norm_back(Var x, Var y, const NormPart& part);
  void embed_back(Var y, const Lookup& lookup);
  void place_back(Var x, Var y, const PatchesPart& part);
  void drop_rows(float* x, std::int64_t rows, std::int64_t width, std::uint64_t site) const;
  struct Attended {
    Var qkv, out;
    Block* lse;
    const AttendPart* part;
    Sequences sequences;
    std::span<const Look> looks;
  };
  void attend_back(const Attended& a);

  StepOptions options_;
  kernels::GradientBodies bodies_;
  Arena arena_;
  std::vector<Value> values_;
  std::vector<Step> steps_;
  std::uint64_t sites_ = 0;  // of dropout, counted
  double taught_ = 0.0;
};

/// Calls body(first, last) over rows in groups that depend on the shape alone.
void by_rows(std::int64_t rows,
             std::int64_t width,
             const std::function<void(std::int64_t first, std::int64_t last)>& body);

}  // namespace headscope::train
