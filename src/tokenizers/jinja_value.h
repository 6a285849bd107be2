#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "headscope/error.h"

/// Values of Jinja templates: Python's, as far as chat templates know them. All but objects are
/// immutable, as in the sandbox that Transformers renders templates in.
namespace headscope::jinja {

/// What went wrong, before anybody has said where.
struct Failure {
  ErrorCode code;
  std::string message;
};

/// What a template, which nobody has vouched for, may cost.
struct Limits {
  std::uint64_t steps = 50'000'000;            ///< nodes visited and items touched
  std::size_t bytes = std::size_t{512} << 20;  ///< of all texts and lists it ever makes, together
  int depth = 400;                             ///< nested expressions, blocks and macro calls
};

/// What is left of the limits. Failures: kResources.
class Budget {
 public:
  explicit Budget(const Limits& limits) : steps_(limits.steps), bytes_(limits.bytes) {}
  void step(std::uint64_t n = 1);
  void bytes(std::size_t n);

 private:
  std::uint64_t steps_;
  std::size_t bytes_;
};

class Value;
class Run;
using List = std::vector<Value>;

/// A name or key that is not there. It prints as nothing; most other uses are a Failure that says
/// `complaint`.
struct Undefined {
  std::string complaint;
};

/// A list or tuple.
struct Sequence {
  List items;
  bool tuple = false;
  int depth = 1;
};

struct Arguments;

/// A namespace, macro, loop or function: what has a state or can be called.
class Object {
 public:
  Object() = default;
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  virtual ~Object() = default;
  [[nodiscard]] virtual std::string_view type() const = 0;
  virtual std::optional<Value> get(std::string_view name);
  /// False when it takes no such thing.
  virtual bool set(std::string_view name, Value value);
  [[nodiscard]] virtual bool callable() const { return false; }
  virtual Value call(Run& run, const Arguments& arguments);
  /// Drops what it holds: objects may hold each other in circles.
  virtual void release() {}
};

struct Dict;

/// One value; small and cheap to copy.
class Value {
 public:
  Value() = default;  ///< None
  static Value of(bool truth) { return Value(Storage(truth)); }
  static Value of(std::int64_t number) { return Value(Storage(number)); }
  static Value of(double number) { return Value(Storage(number)); }
  static Value of(std::string text);
  static Value of(const char* text) { return of(std::string(text)); }  ///< not as a bool
  static Value of(std::shared_ptr<Object> object) { return Value(Storage(std::move(object))); }
  static Value of(Dict dict);
  static Value undefined(std::string complaint);
  /// Failures: kResources when nested too deep.
  static Value list(List items, bool tuple = false);

  [[nodiscard]] bool is_none() const { return holds<std::monostate>(); }
  [[nodiscard]] bool is_undefined() const { return holds<std::shared_ptr<const Undefined>>(); }
  [[nodiscard]] bool is_bool() const { return holds<bool>(); }
  [[nodiscard]] bool is_integer() const { return holds<std::int64_t>(); }  ///< not bool
  [[nodiscard]] bool is_float() const { return holds<double>(); }
  [[nodiscard]] bool is_number() const { return is_bool() || is_integer() || is_float(); }
  [[nodiscard]] bool is_text() const { return holds<std::shared_ptr<const std::string>>(); }
  [[nodiscard]] bool is_sequence() const { return holds<std::shared_ptr<const Sequence>>(); }
  [[nodiscard]] bool is_dict() const { return holds<std::shared_ptr<const Dict>>(); }
  [[nodiscard]] bool is_object() const { return holds<std::shared_ptr<Object>>(); }

  [[nodiscard]] bool boolean() const { return std::get<bool>(storage_); }
  /// Of an integer or bool.
  [[nodiscard]] std::int64_t integer() const;
  /// Of any number.
  [[nodiscard]] double number() const;
  [[nodiscard]] const std::string& text() const {
    return *std::get<std::shared_ptr<const std::string>>(storage_);
  }
  [[nodiscard]] const Sequence& sequence() const {
    return *std::get<std::shared_ptr<const Sequence>>(storage_);
  }
  [[nodiscard]] const Dict& dict() const {
    return *std::get<std::shared_ptr<const Dict>>(storage_);
  }
  [[nodiscard]] const std::shared_ptr<Object>& object() const {
    return std::get<std::shared_ptr<Object>>(storage_);
  }
  [[nodiscard]] const std::string& complaint() const {
    return std::get<std::shared_ptr<const Undefined>>(storage_)->complaint;
  }

 private:
  using Storage = std::variant<std::monostate,
                               bool,
                               std::int64_t,
                               double,
                               std::shared_ptr<const std::string>,
                               std::shared_ptr<const Sequence>,
                               std::shared_ptr<const Dict>,
                               std::shared_ptr<Object>,
                               std::shared_ptr<const Undefined>>;
  explicit Value(Storage storage) : storage_(std::move(storage)) {}
  template <typename T>
  [[nodiscard]] bool holds() const {
    return std::holds_alternative<T>(storage_);
  }

  Storage storage_;
};

struct Arguments {
  List positional;
  std::vector<std::pair<std::string, Value>> named;
};

/// A dict: keys keep the order in which they came.
struct Dict {
  std::vector<std::pair<Value, Value>> items;
  std::unordered_map<std::string, std::size_t> index;
  int depth = 1;

  /// nullptr when there is no such key. Failures: kInput for a key that cannot be one.
  [[nodiscard]] const Value* find(const Value& key) const;
  [[nodiscard]] const Value* find(std::string_view key) const;
  void set(const Value& key, Value value);
};

/// Python's name of the type, for messages.
std::string_view type_name(const Value& value);
bool truth(const Value& value);
/// What `{{ value }}` prints.
std::string str(const Value& value, Budget& budget);
std::string repr(const Value& value, Budget& budget);
bool equal(const Value& a, const Value& b, Budget& budget);
/// -1, 0 or 1. Failures: kInput for values without an order.
int compare(const Value& a, const Value& b, Budget& budget);
/// Items of a list, keys of a dict, characters of a text. Failures: kInput for anything else.
List iterate(const Value& value, Budget& budget);
/// How many items. Failures: kInput.
std::int64_t length(const Value& value);
bool contains(const Value& container, const Value& item, Budget& budget);

/// How json.dumps writes.
struct JsonStyle {
  std::optional<std::string> indent;
  std::string between_items = ", ";
  std::string after_key = ": ";
  bool ascii = false;
  bool sort_keys = false;
};
/// Failures: kInput for what JSON cannot hold.
std::string to_json(const Value& value, const JsonStyle& style, Budget& budget);
/// The value that a JSON text holds, keys in their order. Errors: those of json::parse.
Value from_json(std::string_view text, std::string_view name);

}  // namespace headscope::jinja
