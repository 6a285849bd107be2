#include "models/gguf_families.h"

#include <algorithm>

namespace headscope::models {

namespace {

constexpr std::string_view kCommonKeys =
    "hidden_size=embedding_length num_hidden_layers=block_count "
    "num_attention_heads=attention.head_count num_key_value_heads=attention.head_count_kv "
    "intermediate_size=feed_forward_length max_position_embeddings=context_length "
    "head_dim=attention.key_length rms_norm_eps=attention.layer_norm_rms_epsilon";

constexpr std::string_view kOnce =
    "model.embed_tokens=token_embd model.norm=output_norm lm_head=output";
constexpr std::string_view kPrefix = "model.layers.{}.";

#define HEADSCOPE_QKVO                                                       \
  "self_attn.q_proj=attn_q self_attn.k_proj=attn_k self_attn.v_proj=attn_v " \
  "self_attn.o_proj=attn_output self_attn.q_norm=attn_q_norm self_attn.k_norm=attn_k_norm "
#define HEADSCOPE_MLP "mlp.gate_proj=ffn_gate mlp.up_proj=ffn_up mlp.down_proj=ffn_down "
#define HEADSCOPE_LLAMA \
  "input_layernorm=attn_norm " HEADSCOPE_QKVO "post_attention_layernorm=ffn_norm " HEADSCOPE_MLP
#define HEADSCOPE_SANDWICH                                                           \
  "input_layernorm=attn_norm " HEADSCOPE_QKVO HEADSCOPE_MLP                          \
  "post_attention_layernorm=post_attention_norm pre_feedforward_layernorm=ffn_norm " \
  "post_feedforward_layernorm=post_ffw_norm"
#define HEADSCOPE_EXPERTS                                         \
  "mlp.gate=ffn_gate_inp mlp.experts.{}.gate_proj=ffn_gate_exps " \
  "mlp.experts.{}.up_proj=ffn_up_exps mlp.experts.{}.down_proj=ffn_down_exps "
#define HEADSCOPE_MOE_KEYS "num_experts_per_tok=expert_used_count "
#define HEADSCOPE_LATENT                                                                 \
  "self_attn.q_a_proj=attn_q_a self_attn.q_a_layernorm=attn_q_a_norm "                   \
  "self_attn.q_b_proj=attn_q_b self_attn.kv_a_proj_with_mqa=attn_kv_a_mqa "              \
  "self_attn.kv_a_layernorm=attn_kv_a_norm self_attn.kv_b_proj=attn_kv_b "               \
  "mlp.shared_experts.gate_proj=ffn_gate_shexp mlp.shared_experts.up_proj=ffn_up_shexp " \
  "mlp.shared_experts.down_proj=ffn_down_shexp"
#define HEADSCOPE_LATENT_KEYS                                                           \
  "first_k_dense_replace=leading_dense_block_count n_routed_experts=expert_count "      \
  "n_shared_experts=expert_shared_count " HEADSCOPE_MOE_KEYS                            \
  "moe_intermediate_size=expert_feed_forward_length q_lora_rank=attention.q_lora_rank " \
  "kv_lora_rank=attention.kv_lora_rank v_head_dim=attention.value_length "              \
  "qk_rope_head_dim=rope.dimension_count routed_scaling_factor=expert_weights_scale"    \
  " n_group=expert_group_count topk_group=expert_group_used_count"

#define HEADSCOPE_T5_ATTENTION                                     \
  "layer.0.layer_norm=attn_norm layer.0.SelfAttention.q=attn_q "   \
  "layer.0.SelfAttention.k=attn_k layer.0.SelfAttention.v=attn_v " \
  "layer.0.SelfAttention.o=attn_o layer.0.SelfAttention.relative_attention_bias=attn_rel_b "
// umT5 last: it is told from the others by its tables.
#define HEADSCOPE_T5(type, cls)                                                                 \
  {                                                                                             \
    .architecture = "t5", .model_type = type, .hf_class = cls "ForConditionalGeneration",       \
    .once =                                                                                     \
        "shared=token_embd encoder.final_layer_norm=enc.output_norm "                           \
        "decoder.final_layer_norm=dec.output_norm lm_head=output",                              \
    .prefix = kT5Encoder, .layer = kT5EncoderLayer, .keys = kT5Keys, .constants = kT5Constants, \
    .gguf_prefix = "enc.blk.{}.", .decoder = kT5DecoderLayer,                                   \
    .decoder_prefix = "decoder.block.{}."                                                       \
  }

#define HEADSCOPE_T5_ENCODER(type, cls)                                                         \
  {                                                                                             \
    .architecture = "t5encoder", .model_type = type, .hf_class = cls "EncoderModel",            \
    .once = "shared=token_embd encoder.final_layer_norm=enc.output_norm", .prefix = kT5Encoder, \
    .layer = kT5EncoderLayer, .keys = kT5Keys, .constants = kT5Constants,                       \
    .gguf_prefix = "enc.blk.{}."                                                                \
  }

constexpr std::string_view kT5Encoder = "encoder.block.{}.";
constexpr std::string_view kT5EncoderLayer = HEADSCOPE_T5_ATTENTION
    "layer.1.layer_norm=ffn_norm layer.1.DenseReluDense.wi=ffn_up "
    "layer.1.DenseReluDense.wo=ffn_down";
// Cross attention of the oldest files has a table that nothing reads.
constexpr std::string_view kT5DecoderLayer = HEADSCOPE_T5_ATTENTION
    "layer.1.layer_norm=cross_attn_norm layer.1.EncDecAttention.q=cross_attn_q "
    "layer.1.EncDecAttention.k=cross_attn_k layer.1.EncDecAttention.v=cross_attn_v "
    "layer.1.EncDecAttention.o=cross_attn_o "
    "layer.1.EncDecAttention.relative_attention_bias=cross_attn_rel_b "
    "layer.2.layer_norm=ffn_norm layer.2.DenseReluDense.wi=ffn_up "
    "layer.2.DenseReluDense.wo=ffn_down";
constexpr std::string_view kT5Keys =
    "d_model=embedding_length num_layers=block_count num_heads=attention.head_count "
    "d_ff=feed_forward_length d_kv=attention.key_length n_positions=context_length "
    "layer_norm_epsilon=attention.layer_norm_rms_epsilon "
    "relative_attention_num_buckets=attention.relative_buckets_count "
    "num_decoder_layers=decoder_block_count decoder_start_token_id=decoder_start_token_id";
constexpr std::string_view kT5Constants = R"({"relative_attention_max_distance":128})";

constexpr std::string_view kBiases = "attention_bias=attn_q.bias mlp_bias=ffn_up.bias";
constexpr std::string_view kWindow = "sliding_window=attention.sliding_window";

constexpr GgufFamily kFamilies[] = {
    {.architecture = "llama",
     .model_type = "llama",
     .hf_class = "LlamaForCausalLM",
     .once = kOnce,
     .prefix = kPrefix,
     .layer = HEADSCOPE_LLAMA,
     .keys = "",
     .constants = R"({"hidden_act":"silu"})",
     .present = kBiases,
     .pairs = true},
    {.architecture = "llama",
     .model_type = "mixtral",
     .hf_class = "MixtralForCausalLM",
     .once = kOnce,
     .prefix = kPrefix,
     .layer =
         "input_layernorm=attn_norm " HEADSCOPE_QKVO "post_attention_layernorm=ffn_norm "
         "block_sparse_moe.gate=ffn_gate_inp block_sparse_moe.experts.{}.w1=ffn_gate_exps "
         "block_sparse_moe.experts.{}.w3=ffn_up_exps block_sparse_moe.experts.{}.w2=ffn_down_exps",
     .keys = "num_local_experts=expert_count " HEADSCOPE_MOE_KEYS,
     .constants = R"({"hidden_act":"silu","sliding_window":null})",
     .pairs = true,
     .experts = true},
    {.architecture = "llama",
     .model_type = "mistral",
     .hf_class = "MistralForCausalLM",
     .once = kOnce,
     .prefix = kPrefix,
     .layer = HEADSCOPE_LLAMA,
     .keys = kWindow,
     .constants = R"({"hidden_act":"silu","sliding_window":null})",
     .pairs = true},
    {.architecture = "qwen2",
     .model_type = "qwen2",
     .hf_class = "Qwen2ForCausalLM",
     .once = kOnce,
     .prefix = kPrefix,
     .layer = HEADSCOPE_LLAMA,
     .keys = "",
     .constants = R"({"hidden_act":"silu","use_sliding_window":false})"},
    {.architecture = "qwen2moe",
     .model_type = "qwen2_moe",
     .hf_class = "Qwen2MoeForCausalLM",
     .once = kOnce,
     .prefix = kPrefix,
     .layer = HEADSCOPE_LLAMA HEADSCOPE_EXPERTS
     "mlp.shared_expert.gate_proj=ffn_gate_shexp mlp.shared_expert.up_proj=ffn_up_shexp "
     "mlp.shared_expert.down_proj=ffn_down_shexp mlp.shared_expert_gate=ffn_gate_inp_shexp",
     .keys = "num_experts=expert_count " HEADSCOPE_MOE_KEYS
             "moe_intermediate_size=expert_feed_forward_length "
             "shared_expert_intermediate_size=expert_shared_feed_forward_length",
     .constants = R"({"hidden_act":"silu","use_sliding_window":false,"norm_topk_prob":false,)"
                  R"("decoder_sparse_step":1,"mlp_only_layers":[]})",
     .untied = true,
     .experts = true},
    {.architecture = "qwen3",
     .model_type = "qwen3",
     .hf_class = "Qwen3ForCausalLM",
     .once = kOnce,
     .prefix = kPrefix,
     .layer = HEADSCOPE_LLAMA,
     .keys = "",
     .constants = R"({"hidden_act":"silu","use_sliding_window":false})",
     .present = "attention_bias=attn_q.bias"},
    {.architecture = "qwen3moe",
     .model_type = "qwen3_moe",
     .hf_class = "Qwen3MoeForCausalLM",
     .once = kOnce,
     .prefix = kPrefix,
     .layer = HEADSCOPE_LLAMA HEADSCOPE_EXPERTS,
     .keys = "num_experts=expert_count " HEADSCOPE_MOE_KEYS
             "moe_intermediate_size=expert_feed_forward_length",
     .constants = R"({"hidden_act":"silu","use_sliding_window":false,"norm_topk_prob":true,)"
                  R"("decoder_sparse_step":1,"mlp_only_layers":[]})",
     .present = "attention_bias=attn_q.bias",
     .experts = true},
    {.architecture = "gemma",
     .model_type = "gemma",
     .hf_class = "GemmaForCausalLM",
     .once = kOnce,
     .prefix = kPrefix,
     .layer = HEADSCOPE_LLAMA,
     .keys = "",
     .constants = R"({"hidden_act":"gelu_pytorch_tanh","hidden_activation":"gelu_pytorch_tanh"})",
     .plus_one = true},
    {.architecture = "gemma2",
     .model_type = "gemma2",
     .hf_class = "Gemma2ForCausalLM",
     .once = kOnce,
     .prefix = kPrefix,
     .layer = HEADSCOPE_SANDWICH,
     .keys =
         "sliding_window=attention.sliding_window attn_logit_softcapping=attn_logit_softcapping "
         "final_logit_softcapping=final_logit_softcapping",
     .constants = R"({"hidden_act":"gelu_pytorch_tanh","hidden_activation":"gelu_pytorch_tanh"})",
     .plus_one = true},
    {.architecture = "gemma3",
     .model_type = "gemma3_text",
     .hf_class = "Gemma3ForCausalLM",
     .once = kOnce,
     .prefix = kPrefix,
     .layer = HEADSCOPE_SANDWICH,
     .keys = "sliding_window=attention.sliding_window "
             "final_logit_softcapping=final_logit_softcapping",
     .constants = R"({"hidden_activation":"gelu_pytorch_tanh"})",
     .plus_one = true},
    {.architecture = "gpt2",
     .model_type = "gpt2",
     .hf_class = "GPT2LMHeadModel",
     .once = "wte=token_embd wpe=position_embd ln_f=output_norm lm_head=output",
     .prefix = "h.{}.",
     .layer = "ln_1=attn_norm attn.c_attn=attn_qkv attn.c_proj=attn_output ln_2=ffn_norm "
              "mlp.c_fc=ffn_up mlp.c_proj=ffn_down",
     .keys = "n_embd=embedding_length n_layer=block_count n_head=attention.head_count "
             "n_inner=feed_forward_length n_positions=context_length "
             "layer_norm_epsilon=attention.layer_norm_epsilon",
     .constants = R"({"activation_function":"gelu_new","scale_attn_weights":true,)"
                  R"("scale_attn_by_inverse_layer_idx":false})",
     .turned = true},
    {.architecture = "phi2",
     .model_type = "phi",
     .hf_class = "PhiForCausalLM",
     .once = "model.embed_tokens=token_embd model.final_layernorm=output_norm lm_head=output",
     .prefix = kPrefix,
     .layer = "input_layernorm=attn_norm " HEADSCOPE_QKVO "self_attn.dense=attn_output "
              "mlp.fc1=ffn_up mlp.fc2=ffn_down",
     .keys = "layer_norm_eps=attention.layer_norm_epsilon",
     .constants = R"({"hidden_act":"gelu_new"})",
     .rotary_share = "partial_rotary_factor",
     .untied = true},
    {.architecture = "phi3",
     .model_type = "phi3",
     .hf_class = "Phi3ForCausalLM",
     .once = kOnce,
     .prefix = kPrefix,
     .layer = "input_layernorm=attn_norm self_attn.qkv_proj=attn_qkv self_attn.o_proj=attn_output "
              "post_attention_layernorm=ffn_norm mlp.gate_up_proj=ffn_up mlp.down_proj=ffn_down",
     .keys = kWindow,
     .constants = R"({"hidden_act":"silu"})",
     .rotary_share = "partial_rotary_factor"},
    {.architecture = "starcoder2",
     .model_type = "starcoder2",
     .hf_class = "Starcoder2ForCausalLM",
     .once = kOnce,
     .prefix = kPrefix,
     .layer = HEADSCOPE_LLAMA "mlp.c_fc=ffn_up mlp.c_proj=ffn_down",
     .keys = "norm_epsilon=attention.layer_norm_epsilon",
     .constants = R"({"hidden_act":"gelu_pytorch_tanh","sliding_window":null})",
     .present = "use_bias=attn_q.bias"},
    {.architecture = "stablelm",
     .model_type = "stablelm",
     .hf_class = "StableLmForCausalLM",
     .once = kOnce,
     .prefix = kPrefix,
     .layer = HEADSCOPE_LLAMA "self_attn.q_layernorm.norms.{}=attn_q_norm "
                              "self_attn.k_layernorm.norms.{}=attn_k_norm",
     .keys =
         "layer_norm_eps=attention.layer_norm_epsilon use_parallel_residual=use_parallel_residual",
     .constants = R"({"hidden_act":"silu"})",
     .present = "use_qkv_bias=attn_q.bias qk_layernorm=attn_q_norm.weight",
     .rotary_share = "partial_rotary_factor",
     .untied = true},
    {.architecture = "falcon",
     .model_type = "falcon",
     .hf_class = "FalconForCausalLM",
     .once = "transformer.word_embeddings=token_embd transformer.ln_f=output_norm lm_head=output",
     .prefix = "transformer.h.{}.",
     .layer =
         "input_layernorm=attn_norm self_attention.query_key_value=attn_qkv "
         "self_attention.dense=attn_output mlp.dense_h_to_4h=ffn_up mlp.dense_4h_to_h=ffn_down",
     .keys = "num_kv_heads=attention.head_count_kv ffn_hidden_size=feed_forward_length "
             "layer_norm_epsilon=attention.layer_norm_epsilon",
     .constants = R"({"activation":"gelu","alibi":false,"parallel_attn":true})",
     .present = "bias=attn_qkv.bias",
     .grouped = true},
    {.architecture = "bloom",
     .model_type = "bloom",
     .hf_class = "BloomForCausalLM",
     .once = "word_embeddings=token_embd word_embeddings_layernorm=token_embd_norm "
             "ln_f=output_norm lm_head=output",
     .prefix = "h.{}.",
     .layer = "input_layernorm=attn_norm self_attention.query_key_value=attn_qkv "
              "self_attention.dense=attn_output post_attention_layernorm=ffn_norm "
              "mlp.dense_h_to_4h=ffn_up mlp.dense_4h_to_h=ffn_down",
     .keys = "n_layer=block_count n_head=attention.head_count seq_length=context_length "
             "layer_norm_epsilon=attention.layer_norm_epsilon",
     .constants = R"({"apply_residual_connection_post_layernorm":false})",
     .grouped = true},
    {.architecture = "mpt",
     .model_type = "mpt",
     .hf_class = "MptForCausalLM",
     .once = "transformer.wte=token_embd transformer.norm_f=output_norm lm_head=output",
     .prefix = "transformer.blocks.{}.",
     .layer = "norm_1=attn_norm attn.Wqkv=attn_qkv attn.out_proj=attn_output norm_2=ffn_norm "
              "ffn.up_proj=ffn_up ffn.down_proj=ffn_down",
     .keys = "d_model=embedding_length n_layers=block_count n_heads=attention.head_count "
             "max_seq_len=context_length layer_norm_epsilon=attention.layer_norm_epsilon "
             "attn_config.clip_qkv=attention.clamp_kqv "
             "attn_config.alibi_bias_max=attention.max_alibi_bias",
     .constants = R"({"attn_config":{"alibi":true},"expansion_ratio":4,"no_bias":true})"},
    {.architecture = "gptneox",
     .model_type = "gpt_neox",
     .hf_class = "GPTNeoXForCausalLM",
     .once = "gpt_neox.embed_in=token_embd gpt_neox.final_layer_norm=output_norm embed_out=output",
     .prefix = "gpt_neox.layers.{}.",
     .layer = "input_layernorm=attn_norm attention.query_key_value=attn_qkv "
              "attention.dense=attn_output post_attention_layernorm=ffn_norm "
              "mlp.dense_h_to_4h=ffn_up mlp.dense_4h_to_h=ffn_down",
     .keys =
         "layer_norm_eps=attention.layer_norm_epsilon use_parallel_residual=use_parallel_residual",
     .constants = R"({"hidden_act":"gelu"})",
     .present = "attention_bias=attn_qkv.bias",
     .rotary_share = "rotary_pct",
     .grouped = true,
     .untied = true},
    {.architecture = "olmo",
     .model_type = "olmo",
     .hf_class = "OlmoForCausalLM",
     .once = kOnce,
     .prefix = kPrefix,
     .layer = HEADSCOPE_LLAMA,
     .keys = "clip_qkv=attention.clamp_kqv",
     .constants = R"({"hidden_act":"silu"})",
     .pairs = true},
    {.architecture = "olmo2",
     .model_type = "olmo2",
     .hf_class = "Olmo2ForCausalLM",
     .once = kOnce,
     .prefix = kPrefix,
     .layer = HEADSCOPE_QKVO HEADSCOPE_MLP "post_attention_layernorm=post_attention_norm "
                                           "post_feedforward_layernorm=post_ffw_norm",
     .keys = "",
     .constants = R"({"hidden_act":"silu"})",
     .untied = true},
    {.architecture = "olmo2",
     .model_type = "olmo3",
     .hf_class = "Olmo3ForCausalLM",
     .once = kOnce,
     .prefix = kPrefix,
     .layer = HEADSCOPE_QKVO HEADSCOPE_MLP "post_attention_layernorm=post_attention_norm "
                                           "post_feedforward_layernorm=post_ffw_norm",
     .keys = kWindow,
     .constants = R"({"hidden_act":"silu"})",
     .untied = true},
    {.architecture = "bert",
     .model_type = "bert",
     .hf_class = "BertModel",
     .once = "embeddings.word_embeddings=token_embd embeddings.position_embeddings=position_embd "
             "embeddings.token_type_embeddings=token_types embeddings.LayerNorm=token_embd_norm",
     .prefix = "encoder.layer.{}.",
     .layer = "attention.self.query=attn_q attention.self.key=attn_k attention.self.value=attn_v "
              "attention.output.dense=attn_output attention.output.LayerNorm=attn_output_norm "
              "intermediate.dense=ffn_up output.dense=ffn_down output.LayerNorm=layer_output_norm",
     .keys = "layer_norm_eps=attention.layer_norm_epsilon",
     .constants = R"({"hidden_act":"gelu"})"},
    {.architecture = "command-r",
     .model_type = "cohere",
     .hf_class = "CohereForCausalLM",
     .once = kOnce,
     .prefix = kPrefix,
     .layer = HEADSCOPE_LLAMA,
     .keys = "layer_norm_eps=attention.layer_norm_epsilon logit_scale=logit_scale",
     .constants = R"({"hidden_act":"silu"})",
     .present = "use_qk_norm=attn_q_norm.weight attention_bias=attn_q.bias"},
    {.architecture = "cohere2",
     .model_type = "cohere2",
     .hf_class = "Cohere2ForCausalLM",
     .once = kOnce,
     .prefix = kPrefix,
     .layer = HEADSCOPE_LLAMA,
     .keys = "layer_norm_eps=attention.layer_norm_epsilon logit_scale=logit_scale "
             "sliding_window=attention.sliding_window",
     .constants = R"({"hidden_act":"silu"})",
     .present = "attention_bias=attn_q.bias"},
    {.architecture = "granite",
     .model_type = "granite",
     .hf_class = "GraniteForCausalLM",
     .once = kOnce,
     .prefix = kPrefix,
     .layer = HEADSCOPE_LLAMA,
     .keys = "embedding_multiplier=embedding_scale residual_multiplier=residual_scale "
             "attention_multiplier=attention.scale logits_scaling=logit_scale",
     .constants = R"({"hidden_act":"silu"})",
     .present = kBiases,
     .pairs = true},
    {.architecture = "smollm3",
     .model_type = "smollm3",
     .hf_class = "SmolLM3ForCausalLM",
     .once = kOnce,
     .prefix = kPrefix,
     .layer = HEADSCOPE_LLAMA,
     .keys = "",
     .constants = R"({"hidden_act":"silu","no_rope_layer_interval":4,"use_sliding_window":false})",
     .present = kBiases,
     .pairs = true},
    {.architecture = "nemotron",
     .model_type = "nemotron",
     .hf_class = "NemotronForCausalLM",
     .once = kOnce,
     .prefix = kPrefix,
     .layer = HEADSCOPE_LLAMA,
     .keys = "norm_eps=attention.layer_norm_epsilon",
     .constants = R"({"hidden_act":"relu2"})",
     .present = kBiases,
     .rotary_share = "partial_rotary_factor",
     .plus_one = true,
     .untied = true},
    {.architecture = "chatglm",
     .model_type = "glm",
     .hf_class = "GlmForCausalLM",
     .once = kOnce,
     .prefix = kPrefix,
     .layer = HEADSCOPE_LLAMA "mlp.gate_up_proj=ffn_up post_attention_layernorm=ffn_norm",
     .keys = "",
     .constants = R"({"hidden_act":"silu"})",
     .present = "attention_bias=attn_q.bias",
     .rotary_share = "partial_rotary_factor"},
    {.architecture = "glm4",
     .model_type = "glm4",
     .hf_class = "Glm4ForCausalLM",
     .once = kOnce,
     .prefix = kPrefix,
     .layer = HEADSCOPE_LLAMA
     "mlp.gate_up_proj=ffn_up post_attention_layernorm=ffn_norm "
     "post_self_attn_layernorm=post_attention_norm post_mlp_layernorm=post_ffw_norm",
     .keys = "",
     .constants = R"({"hidden_act":"silu"})",
     .present = "attention_bias=attn_q.bias",
     .rotary_share = "partial_rotary_factor",
     .untied = true},
    {.architecture = "deepseek2",
     .model_type = "deepseek_v2",
     .hf_class = "DeepseekV2ForCausalLM",
     .once = kOnce,
     .prefix = kPrefix,
     .layer = HEADSCOPE_LLAMA HEADSCOPE_EXPERTS HEADSCOPE_LATENT,
     .keys = HEADSCOPE_LATENT_KEYS,
     .constants = R"({"hidden_act":"silu"})",
     .untied = true,
     .experts = true},
    {.architecture = "deepseek2",
     .model_type = "deepseek_v3",
     .hf_class = "DeepseekV3ForCausalLM",
     .once = kOnce,
     .prefix = kPrefix,
     .layer = HEADSCOPE_LLAMA HEADSCOPE_EXPERTS HEADSCOPE_LATENT
     " mlp.gate.e_score_correction_bias=exp_probs_b.bias",
     .keys = HEADSCOPE_LATENT_KEYS,
     .constants = R"({"hidden_act":"silu"})",
     .untied = true,
     .experts = true},
    {.architecture = "gpt-oss",
     .model_type = "gpt_oss",
     .hf_class = "GptOssForCausalLM",
     .once = kOnce,
     .prefix = kPrefix,
     .layer = "input_layernorm=attn_norm " HEADSCOPE_QKVO "self_attn.sinks=attn_sinks.weight "
              "post_attention_layernorm=post_attention_norm " HEADSCOPE_EXPERTS
              "mlp.router=ffn_gate_inp",
     .keys = "num_local_experts=expert_count intermediate_size=expert_feed_forward_length "
             "sliding_window=attention.sliding_window " HEADSCOPE_MOE_KEYS,
     .constants = R"({"hidden_act":"silu","swiglu_alpha":1.702,"swiglu_limit":7.0})",
     .present = "attention_bias=attn_q.bias",
     .untied = true,
     .experts = true},
    HEADSCOPE_T5("t5", "T5"),
    HEADSCOPE_T5("mt5", "MT5"),
    HEADSCOPE_T5("umt5", "UMT5"),
    HEADSCOPE_T5_ENCODER("t5", "T5"),
    HEADSCOPE_T5_ENCODER("umt5", "UMT5"),
};

#undef HEADSCOPE_QKVO
#undef HEADSCOPE_MLP
#undef HEADSCOPE_LLAMA
#undef HEADSCOPE_SANDWICH
#undef HEADSCOPE_EXPERTS
#undef HEADSCOPE_MOE_KEYS
#undef HEADSCOPE_LATENT
#undef HEADSCOPE_LATENT_KEYS
#undef HEADSCOPE_T5_ATTENTION
#undef HEADSCOPE_T5
#undef HEADSCOPE_T5_ENCODER

}  // namespace

const GgufFamily* gguf_family(std::string_view architecture, bool experts) {
  const GgufFamily* found = nullptr;
  for (const GgufFamily& family : kFamilies) {
    if (family.architecture != architecture) continue;
    if (family.experts == experts) return &family;
    if (found == nullptr) found = &family;
  }
  return found;
}

const GgufFamily* gguf_family_of_type(std::string_view model_type, bool encoder_alone) {
  for (const GgufFamily& family : kFamilies) {
    const bool alone = family.architecture == "t5encoder";
    if (family.model_type == model_type && alone == encoder_alone) return &family;
  }
  return nullptr;
}

std::string gguf_architectures() {
  std::string out;
  std::string_view last;
  for (const GgufFamily& family : kFamilies) {
    if (family.architecture == last) continue;
    last = family.architecture;
    out += (out.empty() ? "" : ", ") + std::string(last);
  }
  return out;
}

std::vector<std::pair<std::string, std::string>> gguf_keys(const GgufFamily& family) {
  return pairs_of(std::string(kCommonKeys) + ' ' + std::string(family.keys));
}

std::vector<std::pair<std::string, std::string>> pairs_of(std::string_view list) {
  std::vector<std::pair<std::string, std::string>> out;
  while (!list.empty()) {
    const std::size_t end = std::min(list.find(' '), list.size());
    const std::string_view word = list.substr(0, end);
    list.remove_prefix(std::min(end + 1, list.size()));
    const std::size_t equals = word.find('=');
    if (equals == std::string_view::npos) continue;
    std::pair<std::string, std::string> pair(word.substr(0, equals), word.substr(equals + 1));
    // The later word wins, whichever of its two sides it shares.
    std::erase_if(
        out, [&](const auto& old) { return old.first == pair.first || old.second == pair.second; });
    out.push_back(std::move(pair));
  }
  return out;
}

}  // namespace headscope::models
