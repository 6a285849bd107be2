#include "tokenizers/jinja_run.h"

#include <fmt/format.h>

#include <algorithm>

#include "formats/json.h"
#include "tokenizers/jinja.h"
#include "tokenizers/jinja_objects.h"
#include "tokenizers/jinja_text.h"

namespace headscope::jinja {

namespace {

[[noreturn]] void fail(std::string message, ErrorCode code = ErrorCode::kInput) {
  throw Failure{code, std::move(message)};
}

}  // namespace

void Scope::set(std::string_view name, Value value) {
  for (auto& [known, held] : variables) {
    if (known == name) {
      held = std::move(value);
      return;
    }
  }
  variables.emplace_back(name, std::move(value));
}

const Value* Scope::find(std::string_view name) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->parent.get()) {
    for (const auto& [known, value] : scope->variables) {
      if (known == name) return &value;
    }
  }
  return nullptr;
}

Run::Level::Level(Run& run) : run_(run) {
  if (++run.depth_ > run.most_) {
    --run.depth_;
    fail(fmt::format("expected at most {} nested calls, found more", run.most_),
         ErrorCode::kResources);
  }
}

Run::~Run() {
  for (const auto& object : kept_) object->release();
}

std::string Run::render(const Body& body, const Dict& variables) {
  const auto scope = std::make_shared<Scope>(Scope{functions(*this), {}});
  for (const auto& [name, value] : variables.items)
    scope->variables.emplace_back(name.text(), value);
  return capture([&] { run(body, scope); });
}

Value Run::text(std::string text) {
  budget_.bytes(text.size() + 32);
  return Value::of(std::move(text));
}

Value Run::list(List items, bool tuple) {
  budget_.step(items.size());
  budget_.bytes(items.size() * sizeof(Value) + 32);
  return Value::list(std::move(items), tuple);
}

Value Run::keep(std::shared_ptr<Object> object) {
  budget_.bytes(256);
  kept_.push_back(object);
  return Value::of(std::move(object));
}

void Run::print(std::string_view text) {
  budget_.bytes(text.size());
  *out_ += text;
}

std::string Run::capture(const std::function<void()>& print) {
  struct Restore {
    std::string*& place;
    std::string* old;
    ~Restore() { place = old; }
  };
  std::string text;
  const Restore restore{out_, std::exchange(out_, &text)};
  print();
  return text;
}

Run::Flow Run::run(const Body& body, const ScopePtr& scope) {
  for (const auto& stmt : body) {
    const Flow flow = run(*stmt, scope);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Run::Flow Run::run(const Stmt& stmt, const ScopePtr& scope) {
  budget_.step();
  line_ = stmt.line;
  const auto inner = [&] { return std::make_shared<Scope>(Scope{scope, {}}); };
  switch (stmt.kind) {
    case Stmt::Kind::kText:
      print(stmt.text);
      break;
    case Stmt::Kind::kPrint: {
      const Value value = eval(*stmt.value, scope);
      value.is_text() ? print(value.text()) : print(str(value));
      break;
    }
    case Stmt::Kind::kIf: {
      const Level level(*this);
      return run(truth(eval(*stmt.value, scope)) ? stmt.body : stmt.other, scope);
    }
    case Stmt::Kind::kFor: {
      const Level level(*this);
      loop(stmt, eval(*stmt.value, scope), scope, 0);
      break;
    }
    case Stmt::Kind::kSet:
      assign(*stmt.target, eval(*stmt.value, scope), scope);
      break;
    case Stmt::Kind::kCapture:
    case Stmt::Kind::kFilter: {
      const Level level(*this);
      Value value = text(capture([&] { run(stmt.body, inner()); }));
      if (stmt.value) {  // the head of the chain of filters finds it under a name no template has
        const ScopePtr with = inner();
        with->set("", value);
        value = eval(*stmt.value, with);
      }
      stmt.kind == Stmt::Kind::kFilter ? print(str(value)) : assign(*stmt.target, value, scope);
      break;
    }
    case Stmt::Kind::kMacro:
      scope->set(stmt.text, keep(std::make_shared<Macro>(stmt, stmt.text, scope)));
      break;
    case Stmt::Kind::kCall:
      call_block(stmt, scope);
      break;
    case Stmt::Kind::kWith: {
      const Level level(*this);
      const ScopePtr with = inner();
      for (std::size_t i = 0; i < stmt.targets.size(); ++i)
        assign(*stmt.targets[i], eval(*stmt.values[i], scope), with);
      return run(stmt.body, with);
    }
    case Stmt::Kind::kScope: {
      const Level level(*this);
      return run(stmt.body, inner());
    }
    case Stmt::Kind::kBreak:
      return Flow::kBreak;
    case Stmt::Kind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

void Run::call_block(const Stmt& stmt, const ScopePtr& scope) {
  const Level level(*this);
  const Expr& expr = *stmt.value;
  const Value callee = eval(*expr.items[0], scope);
  Arguments with = arguments(expr, scope);
  with.named.emplace_back("caller", keep(std::make_shared<Macro>(stmt, "caller", scope)));
  print(str(call(callee, with)));
}

void Run::loop(const Stmt& stmt, const Value& over, const ScopePtr& scope, int depth) {
  List items = iterate(over, budget_);
  if (stmt.condition) {
    List chosen;
    for (const Value& item : items) {
      const auto trial = std::make_shared<Scope>(Scope{scope, {}});
      assign(*stmt.target, item, trial);
      if (truth(eval(*stmt.condition, trial))) chosen.push_back(item);
    }
    items = std::move(chosen);
  }
  if (items.empty()) {
    run(stmt.other, std::make_shared<Scope>(Scope{scope, {}}));
    return;
  }
  const auto state = std::make_shared<Loop>(stmt, std::move(items), scope, depth);
  // A loop that a template holds on to is let go at the end with all else.
  struct Kept {
    Run& run;
    const std::shared_ptr<Loop>& state;
    ~Kept() {
      if (state.use_count() > 1) run.kept_.push_back(state);
    }
  };
  auto inner = std::make_shared<Scope>(Scope{scope, {}});
  const Kept kept{*this, state};
  for (; state->more(); state->advance()) {
    budget_.step();
    if (inner.use_count() > 1) {  // a macro holds on to the last one
      inner = std::make_shared<Scope>(Scope{scope, {}});
    } else {
      inner->variables.clear();
    }
    inner->set("loop", Value::of(std::shared_ptr<Object>(state)));
    assign(*stmt.target, state->item(), inner);
    if (run(stmt.body, inner) == Flow::kBreak) break;
  }
  inner->variables.clear();
}

void Run::assign(const Expr& target, const Value& value, const ScopePtr& scope) {
  if (target.kind == Expr::Kind::kName) {
    scope->set(target.name, value);
    return;
  }
  if (target.kind == Expr::Kind::kAttribute) {
    const Value of = name(*target.items[0], scope);
    if (!of.is_object() || !of.object()->set(target.name, value)) {
      fail(fmt::format("expected a namespace to set .{} of, found {}", target.name, type_name(of)));
    }
    return;
  }
  const List parts = iterate(value, budget_);
  if (value.is_undefined()) fail(value.complaint());
  if (parts.size() != target.items.size()) {
    fail(fmt::format("expected {} values to unpack, found {}", target.items.size(), parts.size()));
  }
  for (std::size_t i = 0; i < parts.size(); ++i) assign(*target.items[i], parts[i], scope);
}

Value Run::name(const Expr& expr, const ScopePtr& scope) {
  if (const Value* found = scope->find(expr.name)) return *found;
  return Value::undefined(fmt::format("expected \"{0}\" to be defined, found no {0}", expr.name));
}

Value Run::eval(const Expr& expr, const ScopePtr& scope) {
  using Kind = Expr::Kind;
  const Level level(*this);
  budget_.step();
  line_ = expr.line;
  const auto part = [&](std::size_t i) { return eval(*expr.items[i], scope); };
  switch (expr.kind) {
    case Kind::kConstant:
      return expr.value;
    case Kind::kName:
      return name(expr, scope);
    case Kind::kList:
    case Kind::kTuple: {
      List items;
      for (std::size_t i = 0; i < expr.items.size(); ++i) items.push_back(part(i));
      return list(std::move(items), expr.kind == Kind::kTuple);
    }
    case Kind::kDict:
      return dict(expr, scope);
    case Kind::kAttribute:
      return attribute(part(0), expr.name);
    case Kind::kItem: {
      const Value of = part(0);
      return item(of, part(1));
    }
    case Kind::kSlice:
      return slice(expr, scope);
    case Kind::kCall:
      return call(expr, scope);
    case Kind::kFilter: {
      const Value value = expr.items[0] ? part(0) : *scope->find("");
      return filter(expr.name, value, arguments(expr, scope));
    }
    case Kind::kTest: {
      const Value value = part(0);
      return Value::of(test(expr.name, value, arguments(expr, scope)));
    }
    case Kind::kUnary:
      return unary(expr, scope);
    case Kind::kBinary: {
      const Value a = part(0);
      return binary(*this, expr.name, a, part(1));
    }
    case Kind::kConcat: {
      std::string joined;
      for (std::size_t i = 0; i < expr.items.size(); ++i) joined += str(part(i));
      return text(std::move(joined));
    }
    case Kind::kAnd: {
      Value a = part(0);
      return truth(a) ? part(1) : a;
    }
    case Kind::kOr: {
      Value a = part(0);
      return truth(a) ? a : part(1);
    }
    case Kind::kCompare:
      return compare(expr, scope);
    case Kind::kCondition:
      if (truth(part(1))) return part(0);
      if (expr.items[2]) return part(2);
      return Value::undefined("expected an else where the if is false, found none");
  }
  return {};
}

Value Run::dict(const Expr& expr, const ScopePtr& scope) {
  Dict out;
  for (std::size_t i = 0; i + 1 < expr.items.size(); i += 2) {
    const Value key = eval(*expr.items[i], scope);
    out.set(key, eval(*expr.items[i + 1], scope));
  }
  budget_.bytes(out.items.size() * 128);
  return Value::of(std::move(out));
}

Value Run::unary(const Expr& expr, const ScopePtr& scope) {
  const Value value = eval(*expr.items[0], scope);
  if (expr.name == "not") return Value::of(!truth(value));
  if (value.is_undefined()) fail(value.complaint());
  if (!value.is_number()) {
    fail(fmt::format("expected a number after {}, found {}", expr.name, type_name(value)));
  }
  if (expr.name == "-") return binary(*this, "-", Value::of(std::int64_t{0}), value);
  return value.is_bool() ? Value::of(value.integer()) : value;
}

Value Run::compare(const Expr& expr, const ScopePtr& scope) {
  Value left = eval(*expr.items[0], scope);
  for (std::size_t i = 0; i < expr.names.size(); ++i) {
    Value right = eval(*expr.items[i + 1], scope);
    const std::string& op = expr.names[i];
    bool holds = false;
    if (op == "==" || op == "!=") {
      holds = equal(left, right, budget_) == (op == "==");
    } else if (op == "in" || op == "not in") {
      holds = contains(right, left, budget_) == (op == "in");
    } else {
      const int order = jinja::compare(left, right, budget_);
      holds = op == "<" ? order < 0 : op == "<=" ? order <= 0 : op == ">" ? order > 0 : order >= 0;
    }
    if (!holds) return Value::of(false);
    left = std::move(right);
  }
  return Value::of(true);
}

Arguments Run::arguments(const Expr& expr, const ScopePtr& scope) {
  Arguments out;
  for (std::size_t i = 1; i < expr.items.size(); ++i)
    out.positional.push_back(eval(*expr.items[i], scope));
  for (const auto& [key, value] : expr.named) out.named.emplace_back(key, eval(*value, scope));
  if (expr.more) {
    const List more = iterate(eval(*expr.more, scope), budget_);
    out.positional.insert(out.positional.end(), more.begin(), more.end());
  }
  if (expr.more_named) {
    const Value more = eval(*expr.more_named, scope);
    if (!more.is_dict()) fail(fmt::format("expected a dict after **, found {}", type_name(more)));
    for (const auto& [key, value] : more.dict().items) {
      if (!key.is_text()) fail("expected texts as keys of a dict after **");
      out.named.emplace_back(key.text(), value);
    }
  }
  line_ = expr.line;
  return out;
}

Value Run::call(const Expr& expr, const ScopePtr& scope) {
  const Expr& callee = *expr.items[0];
  if (callee.kind == Expr::Kind::kAttribute) {  // a method, called without making an object of it
    const Value self = eval(*callee.items[0], scope);
    if (!self.is_object() && has_method(self, callee.name)) {
      const Arguments with = arguments(expr, scope);
      return *call_method(*this, self, callee.name, with);
    }
    return call(attribute(self, callee.name), arguments(expr, scope));
  }
  const Value function = eval(callee, scope);
  return call(function, arguments(expr, scope));
}

Value Run::call(const Value& callee, const Arguments& arguments) {
  if (callee.is_undefined()) fail(callee.complaint());
  if (!callee.is_object()) {
    fail(fmt::format("expected a function to call, found {}", type_name(callee)));
  }
  const Level level(*this);
  const int line = line_;
  Value result = callee.object()->call(*this, arguments);
  line_ = line;
  return result;
}

Value Run::slice(const Expr& expr, const ScopePtr& scope) {
  const Value of = eval(*expr.items[0], scope);
  std::optional<std::int64_t> bounds[3];
  for (std::size_t i = 0; i < 3; ++i) {
    if (!expr.items[i + 1]) continue;
    const Value bound = eval(*expr.items[i + 1], scope);
    if (bound.is_none()) continue;
    if (!bound.is_integer() && !bound.is_bool()) {
      fail(fmt::format("expected whole numbers in a slice, found {}", type_name(bound)));
    }
    bounds[i] = bound.integer();
  }
  if (of.is_undefined()) fail(of.complaint());
  if (!of.is_text() && !of.is_sequence()) {
    fail(fmt::format("expected a list or a text to slice, found {}", type_name(of)));
  }
  const std::int64_t n = length(of);
  const std::int64_t step = bounds[2].value_or(1);
  if (step == 0) fail("expected a slice whose step is not 0");
  const std::int64_t low = step > 0 ? 0 : -1;
  const std::int64_t high = step > 0 ? n : n - 1;
  const auto place = [&](const std::optional<std::int64_t>& bound, std::int64_t fallback) {
    if (!bound) return fallback;
    const std::int64_t at = *bound < 0 ? (*bound < -n ? low : *bound + n) : *bound;
    return std::clamp(at, low, std::max(low, high));
  };
  const std::int64_t begin = place(bounds[0], step > 0 ? low : high);
  const std::int64_t end = place(bounds[1], step > 0 ? high : low);
  if (of.is_text() && step == 1) {
    if (end <= begin) return Value::of(std::string());
    const std::string_view whole = of.text();
    const std::size_t from = byte_of_character(whole, static_cast<std::size_t>(begin));
    const std::string_view tail = whole.substr(from);
    return text(std::string(
        tail.substr(0, byte_of_character(tail, static_cast<std::size_t>(end - begin)))));
  }
  const List items = iterate(of, budget_);
  List chosen;
  const auto in_range = [&](std::int64_t i) { return step > 0 ? i < end : i > end; };
  for (std::int64_t i = begin; in_range(i);) {
    chosen.push_back(items[static_cast<std::size_t>(i)]);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  if (of.is_sequence()) return list(std::move(chosen), of.sequence().tuple);
  std::string joined;
  for (const Value& one : chosen) joined += one.text();
  return text(std::move(joined));
}

Template::Template(std::string_view source, std::string name, const Limits& limits)
    : name_(std::move(name)), limits_(limits) {
  int line = 1;
  try {
    body_ = parse(source, limits.depth, line);
  } catch (const Failure& failure) {
    throw Error(failure.code, fmt::format("[{}, line {}] {}", name_, line, failure.message));
  }
}

std::string Template::render(const Dict& variables, const std::optional<std::tm>& now) const {
  std::tm local = now.value_or(std::tm{});
  if (!now) {
    const std::time_t clock = std::time(nullptr);
    ::localtime_r(&clock, &local);
  }
  Run run(limits_, local);
  try {
    return run.render(body_, variables);
  } catch (const Failure& failure) {
    throw Error(failure.code, fmt::format("[{}, line {}] {}", name_, run.line(), failure.message));
  }
}

}  // namespace headscope::jinja
