# A tree that a scenario may change, for who sources this.

# own_tree: copies the tree into the folder $work, where TREE is from then on, with keys for updates in the product.
own_tree() {
	mkdir "$work/tree"
	cp -r "$TREE"/{board,pkg,product,scripts} "$work/tree"
	TREE="$work/tree"
	rm -f "$TREE/product/$product"/update.{pub,sec}
	signify-openbsd -G -n -p "$TREE/product/$product/update.pub" -s "$TREE/product/$product/update.sec"
}
