#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "headscope/cache.h"
#include "headscope/split.h"
#include "headscope/tensor.h"

/// Multi-head attention in five steps: project, split, focus, merge, output.
///
/// Letters of shapes, everywhere: B batch, T tokens (Tq rows that ask, Tk keys that are asked),
/// H heads, G key/value heads (G divides H; G = H is MHA, G = 1 is MQA), D head width, Dv width of
/// a value, C model width.
namespace headscope {

class Linear;

/// Which keys a row may see and how its scores are bent. Values, never branches in attention.cpp.
/// Row i of q sits at position p_i = i + query_offset, key j at position j.
///   s_ij = cap(scale * q_i . k_j) - slope_h * |p_i - j| + bias_ij,   cap(x) = softcap * tanh(x /
///   softcap) visible: causal j <= p_i or j < prefix;  j >= p_i - window_left;  j <= p_i +
///   window_right;
///            key_mask[b,j] != 0;  bias_ij != -inf;  all that apply must hold
struct FocusOptions {
  std::optional<float> scale;  ///< default 1/sqrt(D)
  bool causal = false;
  std::int64_t window_left = -1;   ///< keys to the left that a row sees besides itself; -1: all
  std::int64_t window_right = -1;  ///< likewise to the right
  std::int64_t prefix = 0;         ///< keys that every row sees although `causal`
  std::optional<std::int64_t>
      query_offset;      ///< default Tk - Tq when causal, left-windowed or sloped, else 0
  float softcap = 0.0F;  ///< 0: none (Gemma 2)
  View<const std::uint8_t, 2> key_mask;  ///< [B,Tk], 0 hides a key; no data: all keys count
  View<const float, 4> bias;             ///< [B or 1, H or 1, Tq or 1, Tk]; no data: none
  View<const float, 1> slopes;           ///< [H], ALiBi (Press 2022); no data: none
  View<const float, 1> sinks;  ///< [H], a score that takes weight and gives nothing; no data: none
  /// [B,T]: a row sees only keys with its own number (Tq = Tk = T); no data: all
  View<const std::int32_t, 2> segments;
  /// [N+1] each, with B = 1: N sequences lie one behind the other, rows cu_seqlens_q[n] up to
  /// cu_seqlens_q[n+1] and keys likewise. Nobody sees another sequence, positions start anew in each, and
  /// query_offset is taken from its own lengths. No data: one sequence.
  View<const std::int32_t, 1> cu_seqlens_q;
  View<const std::int32_t, 1> cu_seqlens_k;
};

/// What step 3 reads, f32 or bf16. The last axis of q, k, v is contiguous, the others may be strided.
template <typename T>
struct FocusInputOf {
  View<const T, 4> q;  ///< [B,H,Tq,D]
  View<const T, 4> k;  ///< [B,G,Tk,D]
  View<const T, 4> v;  ///< [B,G,Tk,Dv]
  FocusOptions options;
};
using FocusInput = FocusInputOf<float>;

/// What step 3 writes.
template <typename T>
struct FocusOutputOf {
  View<T, 4> out;      ///< [B,H,Tq,Dv], last axis contiguous
  View<float, 3> lse;  ///< [B,H,Tq] in nats; no data: not wanted
};
using FocusOutput = FocusOutputOf<float>;

/// What to record about heads while they work. An empty Sight costs nothing.
struct Sight {
  bool stats = true;         ///< eight numbers a row, see FocusRecord
  int top_k = 0;             ///< the k strongest keys of every row, 0..32
  bool column_mass = false;  ///< attention that each key receives in total
  int pooled_rows = 0;       ///< rows of the pooled map, 0..256 (0: none)
  int pooled_columns = 0;    ///< columns of the pooled map, 0..256
  bool keep_qk = false;      ///< keep q and k, so that any weight can be recomputed exactly
  bool keep_bf16 =
      false;  ///< round them to bf16: half the memory; weights are off by 2^-8 of a score
  std::vector<int> heads;  ///< which heads of the layer; empty: all

  /// Everything that a viewer of a short or long text needs: stats, top-8, column mass, 64 x 64
  /// map, q and k.
  static Sight everything();
};

/// What was recorded of one attention call: O(T) numbers a head. S is the number of chosen heads,
/// in the order of `heads`. A tensor that was not asked for is empty(). A row that sees no key has
/// all statistics 0, argmax -1 and lse = -inf (with a sink: the sink).
struct FocusRecord {
  std::int64_t batch = 0, query_heads = 0, groups = 0, rows = 0, keys = 0, width = 0;
  std::vector<int> heads;  ///< head number of each of the S slots
  Tensor lse;              ///< [B,S,Tq] nats, always kept
  Tensor entropy;  ///< [B,S,Tq] nats: lse - E[s] (Milakov & Gimelshein 2018 for the running sums)
  Tensor max_weight;     ///< [B,S,Tq]
  Tensor argmax;         ///< [B,S,Tq] i32; the lower key wins a tie
  Tensor distance_mean;  ///< [B,S,Tq] tokens: mean of |p_i - j| under the row's weights
  Tensor distance_var;   ///< [B,S,Tq] tokens^2
  Tensor first_mass;     ///< [B,S,Tq] weight on key 0
  Tensor self_mass;      ///< [B,S,Tq] weight on the key at the row's own position
  Tensor previous_mass;  ///< [B,S,Tq] weight on the key before it
  Tensor top_keys;       ///< [B,S,Tq,k] i32, falling weight, -1 beyond the visible keys
  Tensor top_weights;    ///< [B,S,Tq,k]
  Tensor column_mass;    ///< [B,S,Tk] sum over rows
  Tensor pooled_mean;    ///< [B,S,R,C] blocks of ceil(Tq/R) x ceil(Tk/C) cells, the last cut short
  Tensor pooled_max;     ///< [B,S,R,C]
  Tensor q;              ///< [B,S,Tq,D] as focus saw it (after rotary), of its dtype or bf16
  Tensor k;              ///< [B,G,Tk,D]

  /// The options of the call; the views inside point to `owned`, so that weights can be recomputed
  /// later.
  FocusOptions options;
  std::vector<std::shared_ptr<const Tensor>> owned;

  /// Slot of a head. Errors: kRange naming the heads that were recorded.
  [[nodiscard]] std::int64_t slot(int head) const;
  /// Weights of row i, recomputed exactly: exp(scale * q_i . k_j + ... - lse_i), zero where
  /// invisible, and (without sinks) to the sum of 1, since lse is an f32.
  /// Shapes  out [Tk].  Cost 2*Tk*D flop.  Errors: kRange; kUsage when q and k were not kept.
  void row(std::int64_t b, int head, std::int64_t i, std::span<float> out) const;
  /// Weights of keys [first, first + out.size()) in row i; of a part, as good as lse.
  void row(
      std::int64_t b, int head, std::int64_t i, std::int64_t first, std::span<float> out) const;
};

/// Step 3 of 5, focus: every head weighs the tokens it may see and mixes their values.
///   out[h,i] = sum_j softmax_j(s_ij) * v[g,j],   g = h / (H/G)
/// Shapes  as in FocusInput and FocusOutput; H % G == 0.
/// Units   scale multiplies raw scores; lse in nats; weights of a row (and its sink) sum to 1.
/// Cost    2*H*Tq*Tk*(D+Dv) flop; no Tq x Tk buffer, whatever `sight` asks for.
/// Threads results do not depend on their number: work is cut by shapes, partial sums join in order.
/// Numerics f32, compared with focus_reference; values of hidden keys must be finite (they meet a 0).
/// Errors  kShape, kRange before any write; a row with no visible key gives zeros and lse = -inf, never NaN.
/// Source  Vaswani 2017 s3.2.1; Milakov & Gimelshein 2018 Alg. 3; Dao 2023 (tiling); Ainslie 2023 (G < H).
void focus(const FocusInput& in,
           const FocusOutput& out,
           const Sight* sight = nullptr,
           FocusRecord* record = nullptr);
/// The same for bf16 numbers: sums and statistics are f32, and out is rounded once.
void focus(const FocusInputOf<bf16>& in,
           const FocusOutputOf<bf16>& out,
           const Sight* sight = nullptr,
           FocusRecord* record = nullptr);

/// The same in double precision, row by row and without any cleverness: what every fast path is
/// compared with. Always built. Cost  about 50 times that of focus.
void focus_reference(const FocusInput& in,
                     const FocusOutput& out,
                     const Sight* sight = nullptr,
                     FocusRecord* record = nullptr);
void focus_reference(const FocusInputOf<bf16>& in,
                     const FocusOutputOf<bf16>& out,
                     const Sight* sight = nullptr,
                     FocusRecord* record = nullptr);

/// What the backward pass of step 3 reads: the call, what it gave, and the gradients that come in.
template <typename T>
struct FocusGradientInputOf {
  FocusInputOf<T> forward;
  View<const T, 4> out;       ///< [B,H,Tq,Dv] as focus wrote it, last axis contiguous
  View<const float, 3> lse;   ///< [B,H,Tq] as focus wrote it
  View<const T, 4> dout;      ///< [B,H,Tq,Dv] gradient by out, last axis contiguous
  View<const float, 3> dlse;  ///< [B,H,Tq] gradient by lse; no data: none
};
using FocusGradientInput = FocusGradientInputOf<float>;

/// What it writes: the gradients by every input of the call.
template <typename T>
struct FocusGradientOf {
  View<T, 4> dq;          ///< [B,H,Tq,D], last axis contiguous
  View<T, 4> dk;          ///< [B,G,Tk,D], last axis contiguous
  View<T, 4> dv;          ///< [B,G,Tk,Dv], last axis contiguous
  View<float, 4> dbias;   ///< as bias, summed over its axes of size 1; no data: not wanted
  View<float, 1> dsinks;  ///< [H]; no data: not wanted
};
using FocusGradient = FocusGradientOf<float>;

/// Backward pass of step 3; the weights are computed again from q, k and lse.
///   w_ij = e^(s_ij - lse_i),   delta_i = dout_i . out_i - dlse_i,   ds_ij = w_ij (dout_i . v_j - delta_i)
///   dv_j = sum w_ij dout_i,   dq_i = sum ds'_ij k_j,   dk_j = sum ds'_ij q_i,   dbias_ij = ds_ij,
///   dsink = -sum e^(sink - lse_i) delta_i,   ds' = ds * scale * cap'(scale * q_i . k_j)
/// Shapes  as in FocusGradientInput and FocusGradient; dk and dv are sums over the heads of a group.
/// Cost    2*H*Tq*Tk*(3*D+2*Dv) flop; O(B*H*(Tq+Tk)) rows of memory, dq up to 8 times; no Tq x Tk buffer.
/// Threads results do not depend on their number: work is cut by shapes, partial sums join in order.
/// Numerics f32, compared with focus_backward_reference; bf16 results are rounded once, at the end.
///         A row with no visible key gives zeros. Values of hidden keys must be finite.
/// Errors  kShape, kRange before any write; kUsage for dbias or dsinks of a call without bias or sinks.
/// Source  Dao 2023 (FlashAttention-2) Alg. 2.
void focus_backward(const FocusGradientInput& in, const FocusGradient& out);
void focus_backward(const FocusGradientInputOf<bf16>& in, const FocusGradientOf<bf16>& out);

/// The same in double precision, row by row and without any cleverness: what every fast path is
/// compared with. Always built. Cost  about 50 times that of focus_backward.
void focus_backward_reference(const FocusGradientInput& in, const FocusGradient& out);
void focus_backward_reference(const FocusGradientInputOf<bf16>& in,
                              const FocusGradientOf<bf16>& out);

/// A change to one head: to its findings, made in `merge`, on the input of `output`; or to what `focus` reads of it,
/// made behind `split` (after norms and rotary positions).
struct Edit {
  enum class Kind {
    kZero,  ///< the head says nothing
    kMean,  ///< every row gets the mean of the head's findings over the rows that count in this run
    kScale,    ///< findings times `factor`
    kReplace,  ///< findings of `replacement`
  };
  /// What is changed.
  enum class Part : std::uint8_t {
    kFindings,  ///< [T,Dv] of query head `head`
    kQuery,     ///< [T,D] of query head `head`
    kKey,       ///< [T,D] of key/value head `head` (0..G-1): all heads of its group read it
    kValue,     ///< [T,Dv] likewise
  };
  int layer = 0;
  int head = 0;
  Kind kind = Kind::kZero;
  float factor = 1.0F;
  std::shared_ptr<const Tensor> replacement;  ///< kReplace: f32 [T,Dv], or [B,T,Dv] (D for q and k)
  std::vector<std::int64_t> rows;             ///< rows to change; empty: all
  Part part = Part::kFindings;
};

/// Multi-head latent attention: keys and values of all heads grow from a few numbers a token, queries may
/// too. Of the D numbers of a head the first `turned` are those that rotary positions turn; keys share them.
/// Source  DeepSeek-AI 2024 (DeepSeek-V2) s2.1.
struct LatentProjection {
  std::shared_ptr<const Linear> query_down;  ///< [C] -> [rank of queries]; none: `query` reads x
  Tensor query_norm;                         ///< f32, weights of the RMS norm behind it
  std::shared_ptr<const Linear> query;  ///< -> [H*D], each head: turned numbers, then the others
  std::shared_ptr<const Linear> down;   ///< [C] -> [rank + turned]
  Tensor norm;                          ///< f32 [rank], weights of the RMS norm of the rank
  std::shared_ptr<const Linear> up;     ///< [rank] -> [H*(D-turned) + H*Dv]: all keys, all values
  std::int64_t turned = 0;
  float eps = 1e-6F;
};

/// Positions as things of their own: a query also meets where the key is, a key also meets where the query is.
///   bias_ij = scale * (q_i . P_r + k_j . Q_r),   r = row(i - j)
/// Source  He 2021 (DeBERTa) s3.1; buckets that widen with the distance as in DeBERTa v2.
struct DisentangledPositions {
  std::vector<std::shared_ptr<const Linear>>
      keys;  ///< of each head, [D] -> [2*span]: P; none: no such term
  std::vector<std::shared_ptr<const Linear>> queries;  ///< likewise Q
  std::int64_t span = 0;      ///< distances -span .. span - 1 have rows of their own
  std::int64_t buckets = 0;   ///< 0: each distance is one, else those beyond buckets/2 share them
  std::int64_t furthest = 0;  ///< distance that the last bucket ends at

  /// Which of 2*span rows a distance has.
  [[nodiscard]] std::int64_t row(std::int64_t distance) const;
};

/// The learned part of one attention layer. Linear maps are packed for the machine when they are
/// made.
struct AttentionWeights {
  /// [C] -> [(H+G)*D + G*Dv]: all queries, all keys, all values. One map, or several side by side: then
  /// the first ones give the queries alone.
  std::vector<std::shared_ptr<const Linear>> qkv;
  std::shared_ptr<const Linear> output;  ///< [H*Dv] -> [C]
  std::int64_t heads = 0;
  std::int64_t groups = 0;
  std::int64_t width = 0;        ///< D
  std::int64_t value_width = 0;  ///< Dv
  HeadNorm norm = {};            ///< of q and k, before they turn
  Rotary rotary = {};            ///< how q and k turn with their positions
  float clip = 0.0F;             ///< q, k and v are cut to +-clip before all else; 0: they are not
  std::shared_ptr<const LatentProjection> latent = nullptr;  ///< instead of qkv (then G = H)
  std::shared_ptr<const DisentangledPositions> disentangled =
      {};  ///< none: positions are not compared
};

/// Every number of the five steps of one call, for the walk and for tests. Filled when asked for.
struct AttentionTrace {
  Tensor x;              ///< [B,T,C] what the layer's attention reads
  Tensor q;              ///< [B,H,T,D]
  Tensor k;              ///< [B,G,T,D]
  Tensor v;              ///< [B,G,T,Dv]
  Tensor z;              ///< [B,H,T,Dv] findings of every head, before edits
  Tensor lse;            ///< [B,H,T]
  Tensor merged;         ///< [B,T,H*Dv] the input of `output`, after edits
  Tensor out;            ///< [B,T,C]
  FocusOptions options;  ///< the numbers among them; the views are dropped
};

/// What goes with one attention call besides the weights.
struct AttentionCall {
  FocusOptions options;
  std::span<const Edit> edits;       ///< already those of this layer
  View<const std::uint8_t, 2> rows;  ///< [B,T] rows that count in a mean; no data: all
  const Sight* sight = nullptr;
  FocusRecord* record = nullptr;
  AttentionTrace* trace = nullptr;
  /// [B,T] or [1,T], where rotary tokens sit. No data: they count from first_position, anew in each
  /// sequence of options.cu_seqlens_q.
  View<const std::int64_t, 2> positions;
  std::int64_t first_position = 0;  ///< of a call that goes on where another ended
  const Rotary* rotary =
      nullptr;  ///< turns instead of weights.rotary: angles that depend on the length

  /// Cross attention: keys and values come from these rows, [B,Tk,C']; no data: from x.
  View<const float, 3> memory;
  /// One cache a sequence, or none. Keys and values of x (of the rows that count: the first ones of each
  /// sequence) are appended to layer `layer` of each, and all that a cache keeps is seen. query_offset and
  /// key_mask are then those of the caches; a Sight needs B = 1.
  std::span<KvCache* const> caches;
  std::size_t layer = 0;
  bool remembered =
      false;  ///< cross attention over what `remember` put into the caches: x asks only
};

/// The five steps in order. Shapes  x [B,T,C], out [B,T,C]; both contiguous.
/// Errors  kShape, kRange (an edit that names no head) before any write.
void attention(const AttentionWeights& weights,
               View<const float, 3> x,
               View<float, 3> out,
               const AttentionCall& call);

/// q, k and v as every head sees them: windows on the projected rows, nothing is copied.
struct Slices {
  View<const float, 4> q;                   ///< [B,H,T,D]
  View<const float, 4> k;                   ///< [B,G,T,D]
  View<const float, 4> v;                   ///< [B,G,T,Dv]
  std::shared_ptr<const Tensor> bias = {};  ///< [B,H,T,T] of disentangled positions; nullptr: none
};

/// Where step 1 writes: queries [B,Tq,H*D], and keys and values [B,Tk,G*D + G*Dv], which are the columns
/// behind the queries unless they come from another sequence (or from nowhere: no data).
struct Projected {
  View<float, 3> q;
  View<float, 3> kv;
};

/// Step 1 of 5, project: x becomes queries, x or memory becomes keys and values.
/// Shapes  [B,T,C] -> [B,T,(H+G)*D + G*Dv].
void project(const AttentionWeights& weights,
             View<const float, 3> x,
             View<const float, 3> memory,
             const Projected& rows);
void project(const AttentionWeights& weights, View<const float, 3> x, View<float, 3> qkv);
/// Step 2 of 5, split: every head gets its own slice. Where weights.norm and weights.rotary ask for it, q
/// and k are normed and turned where they lie; v stays. Keys and values join the caches, if there are any.
/// Cost    nothing, or one pass over q and k for each of the two.
/// Errors  kShape, kRange, kUsage (numbers that do not fit or are not finite).
Slices split(const AttentionWeights& weights, const Projected& rows, const AttentionCall& call);
Slices split(const AttentionWeights& weights, View<float, 3> qkv, const AttentionCall& call = {});
/// Edits of q, k and v, where `split` left them. Errors: kRange, kShape, and kUnsupported where they have been read
/// already: with caches, and of latent or disentangled attention.
void edit_parts(const AttentionWeights& weights, const Projected& rows, const AttentionCall& call);
/// Step 3 of 5 over slices, or over what the caches of the call keep. Shapes  out and lse as in focus.
void focus(const Slices& slices, const FocusOutput& out, const AttentionCall& call);
/// Where step 3 writes so that step 4 costs nothing: [B,T,H*Dv] seen as [B,H,T,Dv].
View<float, 4> as_heads(View<float, 3> merged, std::int64_t heads);
/// Step 4 of 5, merge: the heads' findings lie side by side in [B,T,H*Dv]; edits act here.
/// Errors  kRange (head or row that is not there), kShape (replacement of another size).
void merge(View<float, 3> merged,
           std::int64_t heads,
           std::span<const Edit> edits,
           View<const std::uint8_t, 2> rows = {});
/// Keys and values of `memory` [B,Tk,C'] for calls with `remembered`: layer `layer` of each cache gets those
/// of its sequence, of the rows that count alone. KvCache::advance is left to the caller.
void remember(const AttentionWeights& weights,
              View<const float, 3> memory,
              View<const std::uint8_t, 2> rows,
              std::span<KvCache* const> caches,
              std::size_t layer);
/// Step 5 of 5, output: the last linear layer. Shapes  [B,T,H*Dv] -> [B,T,C].
void output(const AttentionWeights& weights, View<const float, 3> merged, View<float, 3> out);

}  // namespace headscope
